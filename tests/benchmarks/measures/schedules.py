"""Schedules: many that are due in one second, many that are not, and how late a tick is."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

from django_bgtasks import Every, set_schedule
from django_bgtasks.core import clock
from django_bgtasks.core.clock import in_utc
from django_bgtasks.ledger.lifecycle import ledger_database
from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import Job, Schedule
from tests.app.tasks import add
from tests.waiting import wait_until

from .backlog import idle
from .tools import Figures, emptied, settled, summary, worker

MANY, DUE = 10_000, 500
# The lateness is that of so many schedules with a tick each second, one after another.
SINGLE, SECONDS = 10, 20
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def schedules(directory: Path) -> Figures:
    """500 of 10,000 that are due in one second; what 10,000 cost that are not; lateness."""
    emptied()
    without = idle(directory, "default")
    fill(MANY, database_now(ledger_database()) + 2 * HOUR)
    settled()
    figures = {
        "idle, none, % of a core": without,
        f"idle, {MANY:,} of them, % of a core": (many := idle(directory, "default")),
        f"{MANY:,} of them cost, % of a core": many - without,
        f"{DUE} of {MANY:,} due in a second, s until all are enqueued": _burst(directory),
    }
    emptied()
    lateness = summary(_lateness(directory))
    emptied()
    return figures | {f"a tick is late by, {name}": value for name, value in lateness.items()}


def fill(count: int, first: datetime) -> list[Schedule]:
    """So many schedules of one task, due each hour from then on, a second apart."""
    task = add.using(queue_name="reports")
    row = set_schedule("schedule", task, Every(hours=1), args=[1, 2], overlap="allow")
    rows = []
    for number in range(count):
        # Each with its own next tick, so that an index is of use.
        due = first + number * SECOND
        values = {
            field.attname: getattr(row, field.attname) for field in Schedule._meta.concrete_fields
        }
        values |= {"id": clock.new_id(), "name": f"schedule {number}"}
        rows.append(Schedule(**values | {"next_at": due, "anchor": due}))
    row.delete()
    return Schedule.objects.bulk_create(rows, batch_size=500)


def _burst(directory: Path) -> float:
    """Seconds from the end of a second in which 500 are due until the last job is there."""
    with worker(directory, "default", "--processes", 1, "--verbosity", 0):
        time.sleep(3)
        begin = database_now(ledger_database()) + 3 * SECOND
        rows = list(Schedule.objects.order_by("next_at")[:DUE])
        for number, row in enumerate(rows):
            row.next_at = row.anchor = begin + number / DUE * SECOND
        Schedule.objects.bulk_update(rows, ["next_at", "anchor"], batch_size=250)
        assert in_utc(database_now(ledger_database())) < in_utc(begin)
        ticked = Job.objects.filter(schedule__isnull=False)
        wait_until(lambda: ticked.count() == DUE, timeout=60, pause=0.02)
        return (database_now(ledger_database()) - begin - SECOND) / SECOND


def _lateness(directory: Path) -> list[float]:
    """Milliseconds from each tick until the job of it has begun, in a worker with nothing else."""
    for number in range(SINGLE):
        set_schedule(f"single {number}", add, Every(seconds=1), args=[1, 2], overlap="allow")
    with worker(directory, "default", "--processes", 1, "--verbosity", 0):
        time.sleep(3)
        begin = database_now(ledger_database()) + SECOND
        for number, row in enumerate(Schedule.objects.filter(name__startswith="single")):
            row.next_at = row.anchor = begin + number / SINGLE * SECOND
            row.save()
        end = begin + SECONDS * SECOND
        done = Job.objects.filter(state="succeeded", tick__gte=begin, tick__lt=end)
        wait_until(lambda: done.count() == SINGLE * SECONDS, timeout=60, pause=0.2)
    times = done.values_list("tick", "started_at")
    return [(begun - tick) / SECOND * 1000 for tick, begun in times if tick and begun]
