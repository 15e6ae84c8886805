"""Real workers fire: no process of its own is to be run for it."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from itertools import pairwise

import pytest

from django_bgtasks import Cron, Every, set_schedule
from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import Job, Schedule
from tests.app.models import Note
from tests.maintenance import wait_for_maintenance
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from .rows import DB
from .tasks import note

pytestmark = pytest.mark.django_db(transaction=True)


def make_due(row: Schedule, seconds: float = 0) -> None:
    """Let its tick come so many seconds from now."""
    tick = database_now(DB) + timedelta(seconds=seconds)
    Schedule.objects.filter(pk=row.pk).update(next_at=tick, anchor=tick)


def test_a_worker_writes_the_schedules_of_the_code_and_fires_what_is_set(
    bgworker: WorkerFactory,
) -> None:
    row = set_schedule("a", note, Every(hours=1), args=["by itself"])
    make_due(row, 1)
    bgworker()
    wait_until(lambda: Note.objects.filter(text="by itself").exists(), 20)
    # That of the example site.
    wait_until(lambda: Schedule.objects.filter(source="code", cron="0 3 * * *").exists(), 20)
    # An edit applies at once.
    set_schedule("a", note, Every(seconds=1), args=["edited"])
    wait_until(lambda: Note.objects.filter(text="edited").count() >= 2, 20)
    assert Job.objects.filter(schedule=row.pk, tick__isnull=False).count() >= 3


def test_a_predicate_that_hangs_stalls_neither_schedules_nor_the_worker(
    bgworker: WorkerFactory,
) -> None:
    asks = set_schedule("asks", note, Every(hours=1), when="tests.schedules.tasks.hangs")
    other = set_schedule("other", note, Every(hours=1), args=["other"])
    bgworker()
    wait_for_maintenance()
    for row in (asks, other):
        make_due(row)
    wait_until(lambda: Note.objects.filter(text="other").exists(), 20)
    wait_until(lambda: "gave no answer" in Schedule.objects.get(pk=asks.pk).error, 20)
    make_due(other, 0)
    wait_until(lambda: Note.objects.filter(text="other").count() == 2, 20)


@pytest.mark.long(after=1)
@pytest.mark.faults
def test_workers_that_are_killed_and_stopped_lose_no_tick_and_fire_none_twice(
    bgworker: WorkerFactory,
) -> None:
    row = set_schedule("a", note, Every(seconds=1), catch_up="all", overlap="allow")
    quick = set_schedule(
        "b", note, Cron("* * * * * *", zone="UTC"), catch_up="all", overlap="allow"
    )
    workers = [bgworker() for _ in range(3)]
    wait_until(lambda: Job.objects.filter(schedule=row.pk).count() >= 3, 30)
    workers[0].kill()
    os.kill(workers[1].pid, signal.SIGSTOP)
    count = Job.objects.filter(schedule=row.pk).count()
    wait_until(lambda: Job.objects.filter(schedule=row.pk).count() >= count + 3, 30)
    os.kill(workers[1].pid, signal.SIGCONT)
    count = Job.objects.filter(schedule=row.pk).count()
    wait_until(lambda: Job.objects.filter(schedule=row.pk).count() >= count + 3, 30)
    for each in (row, quick):
        found = Job.objects.filter(schedule=each.pk).order_by("tick")
        moments = [tick for tick in found.values_list("tick", flat=True) if tick]
        assert len(moments) >= 9
        steps = {after - before for before, after in pairwise(moments)}
        assert steps == {timedelta(seconds=1)}
    assert Schedule.objects.filter(skipped__gt=0).count() == 0
