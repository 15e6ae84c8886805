"""Celery's names for tasks of django_bgtasks: an app moves by changing its imports.

`from celery import shared_task` becomes `from django_bgtasks.contrib.celery import shared_task`,
and so do `celery.exceptions`, `celery.result`, `celery.schedules`, `celery.signals`,
`celery.canvas`, `celery.states` and `celery.utils.log`. See docs/moving.md.
"""

from __future__ import annotations

from .app.base import CeleryApp as Celery
from .app.base import current_app
from .app.definition import shared_task
from .app.task import CeleryTask as Task
from .canvas import CelerySignature as Signature
from .canvas import chain, chord, group, maybe_signature, signature, subtask
from .request import current_task
from .result import AsyncResult, EagerResult, GroupResult, ResultSet
from .schedules import crontab
from .utils import uuid

__all__ = [
    "AsyncResult",
    "Celery",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "Signature",
    "Task",
    "chain",
    "chord",
    "crontab",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
]
