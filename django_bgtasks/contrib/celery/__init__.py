"""Celery's names for tasks of django_bgtasks: an app moves by changing its imports.

`from celery import shared_task` becomes `from django_bgtasks.contrib.celery import shared_task`,
and so do `celery.exceptions`, `celery.result`, `celery.schedules`, `celery.signals`,
`celery.canvas`, `celery.states` and `celery.utils.log`. See docs/moving.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import canvas, exceptions, result, schedules, signals, states, utils
from .app.base import CeleryApp as Celery
from .app.base import current_app
from .app.definition import shared_task
from .app.task import CeleryTask
from .canvas import chain, chord, group, maybe_signature, signature, subtask
from .mixed import celery_name
from .request import current_task
from .result import AsyncResult, EagerResult, GroupResult, ResultSet
from .schedules import crontab
from .signature import CelerySignature as Signature
from .utils import uuid

if TYPE_CHECKING:
    from .app.task import CeleryTask as Task

__all__ = [
    "AsyncResult",
    "Celery",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "Signature",
    "Task",
    "canvas",
    "chain",
    "chord",
    "crontab",
    "current_app",
    "current_task",
    "exceptions",
    "group",
    "maybe_signature",
    "result",
    "schedules",
    "shared_task",
    "signals",
    "signature",
    "states",
    "subtask",
    "utils",
    "uuid",
]


def __getattr__(name: str) -> Any:
    if name != "Task":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return celery_name("celery", "Task", CeleryTask)
