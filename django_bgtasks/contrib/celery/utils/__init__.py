"""What modules with tasks take from `celery.utils`."""

from __future__ import annotations

from ....core import clock


def make_task_id() -> str:
    """A new id, for apply_async(task_id=…)."""
    return str(clock.new_id())


uuid = make_task_id
