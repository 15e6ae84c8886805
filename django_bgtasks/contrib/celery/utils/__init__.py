"""What modules with tasks take from `celery.utils`."""

from __future__ import annotations

from ....core import clock
from . import log, time


def make_task_id() -> str:
    """A new id, for apply_async(task_id=…)."""
    return str(clock.new_id())


uuid = make_task_id

__all__ = ["log", "make_task_id", "time", "uuid"]
