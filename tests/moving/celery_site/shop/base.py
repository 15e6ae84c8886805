from celery import Task

from .models import TaskLog


class LoggedTask(Task):
    """The base of tasks whose failures people want to see."""

    autoretry_for = (ConnectionError,)
    max_retries = 2
    default_retry_delay = 1
    _client = None

    @property
    def client(self):
        if self._client is None:
            self._client = object()
        return self._client

    def log(self, event, text=""):
        TaskLog.objects.create(
            name=self.name, task_id=self.request.id or "", event=event, text=text
        )

    def before_start(self, task_id, args, kwargs):
        self.log("start")

    def on_success(self, retval, task_id, args, kwargs):
        self.log("success", str(retval))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.log("retry", repr(exc))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.log("failure", repr(exc))
        super().on_failure(exc, task_id, args, kwargs, einfo)
