"""The signals of a task's run, as Celery names them, with the same arguments.

What happens around a worker's process is in django_bgtasks: process_started, process_stopping.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from ...signals import process_started, process_stopping

# Those of Celery that nothing here sends, and what stands for them.
NOT_SENT = {
    "worker_init": "django_bgtasks.process_started",
    "worker_ready": "django_bgtasks.process_started",
    "worker_shutting_down": "django_bgtasks.process_stopping",
    "worker_shutdown": "django_bgtasks.process_stopping",
    "celeryd_init": "django_bgtasks.process_started",
    "celeryd_after_setup": "django_bgtasks.process_started",
    "beat_init": "the schedules of the tasks: each worker fires them",
    "beat_embedded_init": "the schedules of the tasks: each worker fires them",
    "task_revoked": "Django's task_finished, which tells of cancelled jobs too",
    "task_received": "Django's task_started, which is sent where a job begins",
    "task_rejected": "Django's task_finished",
    "task_unknown": "the dashboard, where jobs without a task are held",
    "heartbeat_sent": "manage.py bgstatus, or `bgworker --heartbeat-file`",
    "import_modules": "OPTIONS['modules'] of TASKS",
    "user_preload_options": "the arguments of manage.py bgworker",
    "eventlet_pool_started": "coroutines: @task of django_bgtasks takes an async function",
}


class TaskSignal(Signal):
    """A signal whose receivers harm no task: what one raises is logged.

    `@task_failure.connect`, also with arguments: `@task_failure.connect(sender=…)`.
    """

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect a receiver, or give the decorator that does."""
        kwargs.setdefault("weak", False)
        if args and callable(args[0]):
            super().connect(*args, **kwargs)
            return args[0]

        def decorator(receiver: Any) -> Any:
            Signal.connect(self, receiver, *args, **kwargs)
            return receiver

        return decorator

    def tell(self, sender: Any, **values: Any) -> None:
        """Call the receivers."""
        if self.receivers:
            self.send_robust(sender=sender, **values)


before_task_publish = TaskSignal()
after_task_publish = TaskSignal()
task_prerun = TaskSignal()
task_postrun = TaskSignal()
task_success = TaskSignal()
task_failure = TaskSignal()
task_retry = TaskSignal()


class ProcessSignal(TaskSignal):
    """A signal of the worker's processes."""

    def __init__(self, source: Signal) -> None:
        super().__init__()
        source.connect(self._pass_on, weak=False)

    def _pass_on(self, sender: Any, **kwargs: Any) -> None:
        logger = logging.getLogger()
        log = {"logger": logger, "loglevel": logger.level, "logfile": None, "format": ""}
        self.tell(sender, **log, colorize=False)


worker_process_init = ProcessSignal(process_started)
setup_logging = ProcessSignal(process_started)
after_setup_logger = ProcessSignal(process_started)
after_setup_task_logger = ProcessSignal(process_started)
worker_process_shutdown = ProcessSignal(process_stopping)


def __getattr__(name: str) -> Any:
    if name in NOT_SENT:
        raise ImportError(f"{name} is not sent here. Use {NOT_SENT[name]}. See docs/moving.md.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
