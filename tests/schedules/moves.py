"""Schedules at times of their own: none of the tests waits for a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules.fire import fire_due

DB = "default"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def row_of(name: str = "a") -> Schedule:
    """The row as it is now."""
    return Schedule.objects.get(name=name)


def next_of(name: str = "a") -> datetime:
    """The tick for which it waits."""
    next_at = row_of(name).next_at
    assert next_at is not None
    return next_at


def moved(name: str = "a", *, by: timedelta | None = None, to: datetime | None = None) -> datetime:
    """Let a schedule have been waiting for a tick of another time; returns that tick.

    to: it has counted from then, too. by: in whole steps of its interval, if it has one.
    """
    row = row_of(name)
    if to is not None:
        changes: dict[str, Any] = {"next_at": to, "anchor": to}
    else:
        assert by is not None
        changes = {"next_at": next_of(name) + by, "anchor": row.anchor + by}
    Schedule.objects.filter(pk=row.pk).update(**changes)
    return next_of(name)


def fire(now: datetime | None = None) -> int:
    """What one maintenance process does: how many jobs it has enqueued."""
    return fire_due("default", DB, now=now)


def fire_until(end: datetime, name: str = "a") -> None:
    """Fire the schedule at each of its ticks, as workers do that are never late."""
    while (now := next_of(name)) <= end:
        fire(now)


def now() -> datetime:
    """By the database's clock."""
    return database_now(DB)


def ticks_of(name: str = "a") -> list[datetime]:
    """The ticks of its jobs, in order."""
    jobs = Job.objects.filter(schedule=row_of(name).pk).order_by("tick")
    return [tick.astimezone(UTC) for tick in jobs.values_list("tick", flat=True) if tick]
