"""Fire the ticks of schedules in the test's process, by a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Min, Q, QuerySet

from ..core.clock import in_utc
from ..core.options import entries
from ..core.states import State
from ..core.timing import Rule
from ..jobs.discovery import discover_tasks
from ..jobs.enqueue import without_dispatch
from ..ledger.lifecycle import ledger_database
from ..ledger.schedules import due
from ..ledger.times import Now
from ..models import Job, Schedule, ScheduleSource
from ..schedules.call import task_of
from ..schedules.code import declares, write_declared
from ..schedules.fire import fire
from .running import run_jobs

LIMIT = 10_000


def run_schedules(
    until: datetime,
    *,
    start: datetime | None = None,
    only: Sequence[Any] = (),
    run: bool = True,
    limit: int = LIMIT,
) -> list[Job]:
    """Fire the ticks up to a time, each at its time, and run its jobs, as run_jobs() does.

    until: the last tick may be at it. start: what the clock shows first: only later ticks fire,
    and each schedule counts from there; by default each goes on from where it is. only: the tasks
    or the names of the schedules that are meant; default: all. run: False leaves the jobs queued,
    as if all workers were busy. limit: at most so many ticks, against an `until` that is further
    away than was meant.
    Both times may be years away: nothing waits. The clock of the tasks is not changed: they have
    `context.tick`.

    The schedules of the code are there, as after the start of a worker. Returns the jobs that ran,
    as they are now, in order; with run=False those that were enqueued.
    Raises what a worker would write into its log: a task that is gone, a queue that is full.
    """
    using, now, until = ledger_database(), None, in_utc(until)
    if start is not None and (now := in_utc(start)) >= until:
        raise ValueError(f"until ({until}) is not later than start ({now}).")
    discover_tasks()
    with without_dispatch():
        for backend in entries():
            write_declared(backend, using)
        rows = _schedules_of(only, using)
        if now is not None:
            _begin_at(now, rows, using)
        found = list(_run_ticks(now, until, rows, run, limit))
    jobs = Job.objects.using(using).in_bulk([job.pk for job in found])
    return [jobs[job.pk] for job in found if job.pk in jobs]


def _run_ticks(
    now: datetime | None, until: datetime, rows: QuerySet[Schedule], run: bool, limit: int
) -> Iterator[Job]:
    count = 0
    while (now := _next_tick(now, rows)) is not None and now <= until:
        # Again, until nothing is due: of many missed ticks it takes a part at a time.
        while jobs := _fire_due(now, rows):
            count += len(jobs)
            if count > limit:
                raise RuntimeError(f"run_schedules fired {limit} ticks and there are still more.")
            if run:
                _take_delays(rows.db)
            yield from run_jobs() if run else jobs


def _schedules_of(only: Sequence[Any], using: str) -> QuerySet[Schedule]:
    """The schedules of these tasks, and those that have these names."""
    rows = Schedule.objects.using(using).filter(paused_at=None)
    names = [each for each in only if isinstance(each, str)]
    tasks = [each.module_path for each in only if not isinstance(each, str)]
    return rows.filter(Q(name__in=names) | Q(task__in=tasks)) if only else rows


def _next_tick(now: datetime | None, rows: QuerySet[Schedule]) -> datetime | None:
    """The next time at which one of them is due."""
    rows = rows if now is None else rows.filter(next_at__gt=now)
    first: datetime | None = rows.aggregate(first=Min("next_at"))["first"]
    return None if first is None else in_utc(first)


def _fire_due(now: datetime, rows: QuerySet[Schedule]) -> list[Job]:
    """Fire those that are due at this time."""
    ids = set(rows.filter(next_at__lte=now).values_list("pk", flat=True))
    jobs: list[Job] = []
    for backend in entries():
        for row in due(backend, rows.db, LIMIT, now):
            is_ours = row.source != ScheduleSource.CODE or declares(row)
            if row.pk in ids and is_ours:
                jobs += fire(row, task_of(row), rows.db) or ()
    return jobs


def _begin_at(now: datetime, rows: QuerySet[Schedule], using: str) -> None:
    """Let each schedule count from this time, as if it had been made then."""
    for row in rows.filter(next_at__isnull=False):
        # The ticks of an interval stay where they are, unless it began later.
        row.anchor = min(in_utc(row.anchor), now)
        row.next_at = Rule.of(row).next_after(now)
        row.save(using=using, update_fields=["anchor", "next_at"])


def _take_delays(using: str) -> None:
    """Let the jobs begin that wait for their jitter: it counts from ticks of the test's clock."""
    waiting = Job.objects.using(using).filter(schedule__isnull=False, tick__isnull=False)
    waiting.filter(state=State.SCHEDULED, attempt=0).update(run_after=Now())
