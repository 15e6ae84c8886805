"""Schedules of a test, and what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django_bgtasks import Every, set_schedule
from django_bgtasks.core.clock import in_utc
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules.fire import fire_due

from .tasks import note

DB = "default"
MINUTE = timedelta(minutes=1)
# All ticks of a test are after it.
START = datetime(2040, 5, 17, 12, 0, tzinfo=UTC)


def each_minute(name: str = "a", task: Any = note, **policies: Any) -> Schedule:
    """A schedule that is due at START, and then each minute."""
    row = set_schedule(name, task, Every(minutes=1), **policies)
    Schedule.objects.filter(pk=row.pk).update(anchor=START, next_at=START)
    return again(row)


def again(row: Schedule) -> Schedule:
    """The row as it is now."""
    return Schedule.objects.get(pk=row.pk)


def fire(minutes: float = 0) -> int:
    """Fire what is due so many minutes after START; how many jobs that gave."""
    return fire_due("default", DB, START + minutes * MINUTE)


def ticks(row: Schedule) -> list[float]:
    """The ticks that have a job, in minutes after START."""
    found = Job.objects.filter(schedule=row.pk).order_by("tick").values_list("tick", flat=True)
    return [(in_utc(tick) - START) / MINUTE for tick in found if tick]


def waits_for(row: Schedule) -> float:
    """Its next tick, in minutes after START."""
    next_at = again(row).next_at
    assert next_at is not None
    return (in_utc(next_at) - START) / MINUTE
