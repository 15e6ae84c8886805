"""The tasks of Celery itself that map(), starmap() and chunks() use."""

from __future__ import annotations

from typing import Any

from .app.definition import shared_task
from .signature import make_signature


@shared_task(name="celery.map")
def call_each(call: dict[str, Any], values: list[Any]) -> list[Any]:
    """Call a task here with each of these values; what it returns, in their order."""
    task = make_signature(call).type
    return [task(value) for value in values]


@shared_task(name="celery.starmap")
def call_each_starred(call: dict[str, Any], calls: list[Any]) -> list[Any]:
    """Call a task here with each of these tuples of arguments."""
    task = make_signature(call).type
    return [task(*args) for args in calls]
