"""The signals of a task's run, as Celery names them, with the same arguments.

What happens around a worker's process is in django_bgtasks: process_started, process_stopping.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from ...signals import process_started, process_stopping
from .mixed import celery_module, is_mixed

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

    `@task_failure.connect`, also with arguments: `@task_failure.connect(sender=…)`, a task or its
    name. Where ROUTES let Celery run some tasks still, its signal of that name calls them too.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect a receiver, or give the decorator that does."""
        kwargs.setdefault("weak", False)
        if not (args and callable(args[0])):
            return lambda receiver: self.connect(receiver, *args, **kwargs)
        receiver, *rest = args
        if is_mixed():
            getattr(celery_module("celery.signals"), self.name).connect(receiver, *rest, **kwargs)
        sender = rest[0] if rest else kwargs.get("sender")
        if isinstance(sender, str):
            super().connect(_for_name(receiver, sender), weak=False)
        else:
            super().connect(receiver, *rest, **kwargs)
        return receiver

    def tell(self, sender: Any, **values: Any) -> None:
        """Call the receivers."""
        if self.receivers:
            self.send_robust(sender=sender, **values)


def _for_name(receiver: Any, name: str) -> Any:
    """The receiver, for what the task of this name sends."""

    def receive(sender: Any = None, **kwargs: Any) -> Any:
        if getattr(sender, "name", sender) == name:
            return receiver(sender=sender, **kwargs)
        return None

    return receive


before_task_publish = TaskSignal("before_task_publish")
after_task_publish = TaskSignal("after_task_publish")
task_prerun = TaskSignal("task_prerun")
task_postrun = TaskSignal("task_postrun")
task_success = TaskSignal("task_success")
task_failure = TaskSignal("task_failure")
task_retry = TaskSignal("task_retry")


class ProcessSignal(TaskSignal):
    """A signal of the worker's processes."""

    def __init__(self, name: str, source: Signal) -> None:
        super().__init__(name)
        source.connect(self._pass_on, weak=False)

    def _pass_on(self, sender: Any, **kwargs: Any) -> None:
        logger = logging.getLogger()
        log = {"logger": logger, "loglevel": logger.level, "logfile": None, "format": ""}
        self.tell(sender, **log, colorize=False)


worker_process_init = ProcessSignal("worker_process_init", process_started)
setup_logging = ProcessSignal("setup_logging", process_started)
after_setup_logger = ProcessSignal("after_setup_logger", process_started)
after_setup_task_logger = ProcessSignal("after_setup_task_logger", process_started)
worker_process_shutdown = ProcessSignal("worker_process_shutdown", process_stopping)


def __getattr__(name: str) -> Any:
    if name in NOT_SENT:
        raise ImportError(f"{name} is not sent here. Use {NOT_SENT[name]}. See docs/moving.md.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
