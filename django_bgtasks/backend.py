"""The task backend: Django's tasks API on the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from .core.backport import loaded_backport
from .core.compat import (
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    api,
    for_both,
)
from .core.options import backend_of, read
from .jobs.definition import validate, validate_call
from .jobs.task import (
    BackgroundTask,
    as_background_task,
    find_task,
    runs_inline,
)

if TYPE_CHECKING:
    from .jobs.results import JobResult

APP = "django_bgtasks"
NO_APP = (
    "The tasks backend %r is one of django_bgtasks, and INSTALLED_APPS does not have that app: "
    "there are no tables for its jobs, and no workers."
)
ADD_IT = 'Add "django_bgtasks" to INSTALLED_APPS, then run `manage.py migrate`.'


@cache
def _ways() -> tuple[Any, Any]:
    """The modules that enqueue. With them come the models, which are not there at first."""
    from .jobs import enqueue, inline

    return enqueue, inline


class RQBackend(BaseTaskBackend):
    """Jobs are rows of the database; RQ carries pointers to them through Redis."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, dict(params))
        if (backport := loaded_backport()) is not None:
            # An abstract class, to which any class can be registered.
            backport.BaseTaskBackend.register(type(self))
        self.settings = read(alias, params)
        # Registers the API's own check, which calls check(): the backport leaves that to its app.
        import_module(f"{api.__name__}.checks")
        # Where the URL conf is the first to use tasks, say, it comes too late for that check.
        if apps.ready and APP not in apps.all_models and alias in settings.TASKS:
            raise ImproperlyConfigured(f"{NO_APP % alias} {ADD_IT}")

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """What `manage.py check` says of it. All else is in checks.py, which only the app loads."""
        if apps.is_installed(APP):
            return []
        return [Error(NO_APP % self.alias, hint=ADD_IT, id="bgtasks.E012")]

    @property
    def task_class(self) -> Any:  # type: ignore[override]
        """What a decorator makes: a BackgroundTask that is a Task of the decorator's own API."""
        backport = loaded_backport()
        if backport is None or self.alias not in backport.task_backends:
            return BackgroundTask
        its_own = backport.task_backends[self.alias] is self
        return BackgroundTask.of_backport if its_own else BackgroundTask

    def validate_task(self, task: Any) -> None:
        """Refuse with InvalidTask what could not be enqueued or run."""
        try:
            self._validate(task)
        except InvalidTask as error:
            raise for_both(_naming(task, error)) from None

    def _of_this_backend(self, task: Any) -> BackgroundTask[Any, Any]:
        """The task with our options. Raises InvalidTask for what this backend does not take."""
        if not isinstance(task, BackgroundTask) or task.backend != self.alias:
            try:
                return as_background_task(task, self.alias)
            except InvalidTask as error:
                raise for_both(error) from None
        # It is frozen and valid since it was made; only QUEUES may have changed.
        if self.queues and task.queue_name not in self.queues:
            self.validate_task(task)
        return task

    def _validate(self, task: Any) -> None:
        validate_call(task)
        if self.queues and task.queue_name not in self.queues:
            raise InvalidTask(
                f"Queue '{task.queue_name}' is not valid for backend. {task.module_path} names it; "
                f"TASKS[{self.alias!r}]['QUEUES'] has {', '.join(sorted(self.queues))}. "
                f"Add it there."
            )
        super().validate_task(task)
        if len(task.module_path) > 255:
            raise InvalidTask(f"{task.module_path}: the path of a task has 1 to 255 characters.")
        if isinstance(task, BackgroundTask):
            validate(task)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> JobResult[Any]:
        """Insert a job in the current transaction and dispatch it with the commit."""
        enqueue, inline = _ways()
        background_task = self._of_this_backend(task)
        insert = inline.enqueue_inline if runs_inline(background_task) else enqueue.enqueue
        result: JobResult[Any] = insert(background_task, args, kwargs, task)
        return result

    async def aenqueue(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> JobResult[Any]:
        """See enqueue()."""
        return await sync_to_async(self.enqueue, thread_sensitive=True)(task, args, kwargs)

    def enqueue_many(self, task: Any, calls: Iterable[Any]) -> Sequence[JobResult[Any]]:
        """Enqueue many calls at once; all of them or none."""
        from .jobs import enqueue_many, inline

        background_task = self._of_this_backend(task)
        if runs_inline(background_task):
            return inline.enqueue_many_inline(background_task, calls, task)
        return enqueue_many.enqueue_many(background_task, calls, task)

    def get_result(self, result_id: str) -> JobResult[Any]:
        """The result of a job by its id.

        Raises TaskResultDoesNotExist if there is no such job, and TaskNotFound if its task cannot
        be imported here.
        """
        from .jobs.results import result_of
        from .ledger.lifecycle import ledger_database
        from .models import Job

        try:
            job = Job.objects.using(ledger_database()).get(pk=UUID(str(result_id)))
        except (Job.DoesNotExist, ValueError):
            raise for_both(TaskResultDoesNotExist(result_id)) from None
        return result_of(job, _task_of(job))


def _task_of(job: Any) -> Any:
    """The task as it was enqueued, where its backend, queue and priority are still valid."""
    task = find_task(job.task)
    call = {"priority": job.priority, "queue_name": job.queue, "run_after": job.run_after}
    try:
        return replace(task, **call, backend=backend_of(job.backend) or task.backend)
    except (InvalidTask, InvalidTaskBackend):
        return task


def _naming(task: Any, error: InvalidTask) -> InvalidTask:
    """Django's own messages do not say which task they are about."""
    name = getattr(task.func, "__qualname__", repr(task.func))
    if name in str(error):
        return error
    return InvalidTask(f"{getattr(task.func, '__module__', None)}.{name}: {error}")
