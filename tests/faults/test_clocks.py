"""Time: no decision depends on a host's clock, however wrong it is, and whatever it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psutil
import pytest
from django.db.models.functions import Now

from django_bgtasks import once
from django_bgtasks.core import clock
from django_bgtasks.models import IdempotencyRecord, Job, Worker
from tests.workers import ROOT, WorkerProcess, environment

from . import delivery_tasks, tasks
from .case import Case
from .effects import VARIABLE as EFFECTS
from .shifted import SHIFT, STEP

pytestmark = pytest.mark.faults

MINUTES, DAY = 120, 86_400
SHIFTS = [
    pytest.param(-DAY, id="a-day-behind", marks=pytest.mark.long),
    pytest.param(DAY, id="a-day-ahead"),
    pytest.param(-MINUTES, id="2-minutes-behind", marks=pytest.mark.long),
    pytest.param(MINUTES, id="2-minutes-ahead", marks=pytest.mark.long),
]
DEAD_AFTER = 4.0
OPTIONS = {"beat_every": 0.5, "dead_after": DEAD_AFTER}


def wrong(shift: float, step: float = 0, **options: Any) -> dict[str, str]:
    """The environment of a process whose clock is so many seconds ahead."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.faults.shifted",
        "BGTASKS_TEST_OPTIONS": json.dumps(OPTIONS | options),
        SHIFT: str(shift),
        STEP: str(step),
    }


def error_of(case: Case) -> float:
    """How wrong the clock of the worker is that runs the next job, in seconds."""
    job = case.enqueue(delivery_tasks.tell_time)
    case.wait_until(lambda: case.job(job).is_final)
    result: Any = case.job(job).result
    return (datetime.fromisoformat(result) - datetime.now(UTC)).total_seconds()


def waits(case: Case, result: Any) -> list[float]:
    """The seconds between the runs of a job."""
    begun = [effect.at for effect in case.effects.of("begin", result.id)]
    return [later - earlier for earlier, later in pairwise(begun)]


def busy_processes(case: Case) -> set[int]:
    """The processes that began a job and did not end it."""
    ended = {effect.job for effect in case.effects.of("end")}
    return {effect.pid for effect in case.effects.of("begin") if effect.job not in ended}


@pytest.mark.long
@pytest.mark.parametrize("shift", SHIFTS)
def test_what_a_worker_with_a_wrong_clock_does_later_it_does_at_the_right_time(
    case: Case, shift: int
) -> None:
    case.row("Delivery", "a worker's clock is wrong by 2 minutes or a day", times=3)
    case.worker("--processes", 2, env=wrong(shift))
    assert abs(error_of(case) - shift) < 5
    start = case.now()
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    scheduled = case.enqueue(tasks.plain, run_after=due)
    delayed = [case.enqueue(delivery_tasks.fails_at_first)]
    delayed += [case.enqueue(delivery_tasks.asks_for_later)]
    case.wait_final(10)
    [begun] = case.effects.of("begin", scheduled.id)
    for seconds, meant in [(begun.at - start, 1.5), *((waits(case, j)[0], 1) for j in delayed)]:
        assert seconds > meant - 0.1, "not before its time"
        case.recovered(seconds - meant, within=2.0)


@pytest.mark.long
@pytest.mark.parametrize("apart", [DAY, MINUTES])
def test_workers_whose_clocks_are_apart_leave_each_other_alone_and_rescue_the_dead(
    case: Case, apart: int
) -> None:
    case.row("Delivery", "two workers with clocks up to 2 days apart, and the death of one of them")
    behind = case.worker(env=wrong(-apart))
    case.wait_until(lambda: Worker.objects.count() == 1)
    ahead = case.worker(env=wrong(apart))
    case.wait_until(lambda: Worker.objects.count() == 2)
    jobs = [case.enqueue(tasks.wait_at_gate) for _ in range(2)]
    case.wait_until(lambda: len(case.effects.of("begin")) == 2)
    start = case.now()
    case.wait_until(lambda: case.now() - start > 1.5 * DEAD_AFTER)
    assert case.effects.times("begin") == {job.id: 1 for job in jobs}
    assert not Worker.objects.exclude(lost_at=None).exists()
    case.kill(behind if apart == DAY else ahead)
    with case.recovers(within=15.0):
        case.effects.open_gate()
        case.wait_final()
    assert sorted(map(case.outcomes, jobs)) == [[], ["crash"]]


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_worker_with_a_wrong_clock_forgets_what_is_over_and_nothing_else(
    case: Case, shift: int
) -> None:
    case.row(
        "Delivery",
        "maintenance with a wrong clock, which releases dedup windows and prunes",
        times=5,
    )
    live = case.enqueue(delivery_tasks.keyed_for_an_hour, "kept")
    ended = case.enqueue(delivery_tasks.keyed_for_a_moment, "over")
    once("kept", delivery_tasks.effect, "kept", keep_for=timedelta(hours=1))
    once("over", delivery_tasks.effect, "over", keep_for=timedelta(0))
    old = tasks.plain.enqueue()
    case.worker("--burst").wait()
    long_ago = Now() - timedelta(days=3)
    Job.objects.filter(pk=old.id).update(
        id=clock.id_floor(clock.now() - timedelta(days=3)), finished_at=long_ago
    )
    Worker.objects.update(last_seen_at=long_ago)
    case.wait_until(lambda: Job.objects.filter(pk=ended.id, dedup_until__lt=Now()).exists())
    case.may_end.add(case.workers[-1].pid)
    case.worker(env=wrong(shift, keep_succeeded_days=0.5))
    # The rows of workers are the last thing that is pruned.
    with case.recovers(within=10.0):
        case.wait_until(lambda: not Worker.objects.filter(last_seen_at__lte=long_ago).exists())
    assert set(Job.objects.values_list("pk", flat=True)) == {
        case.job(live).pk,
        case.job(ended).pk,
    }
    assert case.job(ended).dedup_slot is None
    assert delivery_tasks.keyed_for_an_hour.enqueue("kept").id == live.id
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == ["kept"]


@pytest.mark.long
@pytest.mark.parametrize("shift", SHIFTS)
def test_sites_with_wrong_clocks_share_a_dedup_window(case: Case, shift: int) -> None:
    case.row(
        "Delivery", "a site's clock is wrong by 2 minutes or a day, and dedup windows", times=2
    )
    jobs = [case.enqueue(delivery_tasks.keyed_for_an_hour, "shared")]
    ids = _enqueued_by_a_site(case, shift, "shared", "its-own")
    assert ids[0] == jobs[0].id
    case.committed.append(ids[1])
    assert delivery_tasks.keyed_for_an_hour.enqueue("its-own").id == ids[1]
    times = Job.objects.filter(dedup_until__isnull=False).values_list("enqueued_at", "dedup_until")
    assert [until - begun for begun, until in times if until] == [timedelta(hours=1)] * 2
    case.worker("--burst").wait()
    case.may_end.add(case.workers[-1].pid)


def _enqueued_by_a_site(case: Case, shift: int, *keys: str) -> list[str]:
    command = [sys.executable, "-m", "tests.faults.rival", "keyed_for_an_hour", *keys]
    env = {**environment(), EFFECTS: str(case.effects.path), **wrong(shift)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, check=True, capture_output=True, text=True, timeout=60
    )
    return [line.split()[0] for line in done.stdout.splitlines()]


@pytest.mark.long
@pytest.mark.parametrize("step", [-DAY, DAY])
def test_a_clock_that_jumps_in_the_middle_of_a_job_changes_nothing(case: Case, step: int) -> None:
    case.row("Delivery", "the clock of a worker jumps by a day in the middle of its jobs", times=2)
    worker = case.worker("--processes", 2, env=wrong(0, step))
    case.worker("emails", env=wrong(0))
    assert abs(error_of(case)) < 5
    runs = case.enqueue(tasks.wait_at_gate)
    hangs = delivery_tasks.hangs.enqueue()
    case.committed.append(hangs.id)
    case.wait_until(lambda: case.job(hangs).state == "running" and case.effects.of("begin"))
    begun = case.now()
    _jump(worker)
    with case.recovers(within=5.0):
        case.wait_until(lambda: case.job(hangs).is_final)
    assert case.now() - begun > 1.5, "its timeout is 2 s"
    assert case.outcomes(hangs) == ["timeout"]
    assert abs(error_of(case) - step) < 5
    delayed = case.enqueue(delivery_tasks.fails_at_first)
    case.wait_until(lambda: case.now() - begun > 1.5 * DEAD_AFTER and case.job(delayed).is_final)
    assert 0.9 < waits(case, delayed)[0] < 3
    assert case.job(runs).claims == 1
    assert not Worker.objects.exclude(lost_at=None).exists()
    case.effects.open_gate()
    case.wait_final()
    assert case.outcomes(runs) == []


def _jump(worker: WorkerProcess) -> None:
    """Let the clock of all processes of the worker jump, as when its host's clock is set."""
    for process in psutil.Process(worker.pid).children(recursive=True):
        os.kill(process.pid, signal.SIGUSR2)
    worker.send(signal.SIGUSR2)
