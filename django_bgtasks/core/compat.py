"""One name for each part of the tasks API: Django's own (6.0 and later) or the backport's (5.2)."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING or django.VERSION >= (6, 0):
    import django.tasks as api
    from django.tasks import DEFAULT_TASK_QUEUE_NAME, TaskContext, TaskResultStatus, task_backends
    from django.tasks import signals as api_signals
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TASK_MAX_PRIORITY, TASK_MIN_PRIORITY, Task, TaskError, TaskResult
    from django.tasks.exceptions import (
        InvalidTask,
        InvalidTaskBackend,
        TaskResultDoesNotExist,
        TaskResultMismatch,
    )
else:
    import django_tasks as api
    from django_tasks import DEFAULT_TASK_QUEUE_NAME, TaskContext, TaskResultStatus, task_backends
    from django_tasks import signals as api_signals
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import TASK_MAX_PRIORITY, TASK_MIN_PRIORITY, Task, TaskError, TaskResult
    from django_tasks.exceptions import InvalidTaskBackendError as InvalidTaskBackend
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch

__all__ = [
    "DEFAULT_TASK_QUEUE_NAME",
    "TASK_MAX_PRIORITY",
    "TASK_MIN_PRIORITY",
    "BaseTaskBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "api",
    "api_signals",
    "for_both",
    "handlers",
    "task_backends",
]

_BACKPORT_NAMES = {
    "InvalidTask": "InvalidTaskError",
    "InvalidTaskBackend": "InvalidTaskBackendError",
}


def handlers() -> list[Any]:
    """Every `task_backends` handler that may ask for our backend: the backport has its own."""
    backport = sys.modules.get("django_tasks")
    others = [] if backport is None or backport is api else [backport.task_backends]
    return [task_backends, *others]


def for_both(error: Exception) -> Exception:
    """The same error as one that users of the backport catch too, where the backport is loaded.

    Beside Django's own API the backport has exception classes of its own.
    """
    backport = sys.modules.get("django_tasks.exceptions")
    cls: Any = type(error)
    twin_cls: Any = getattr(backport, _BACKPORT_NAMES.get(cls.__name__, cls.__name__), None)
    if twin_cls is None or issubclass(cls, twin_cls):
        return error
    combined: Exception = _combined(cls, twin_cls)(*error.args)
    return combined


@cache
def _combined(cls: Any, twin_cls: Any) -> Any:
    return type(cls.__name__, (cls, twin_cls), {"__module__": cls.__module__})
