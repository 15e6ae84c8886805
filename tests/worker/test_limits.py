"""Timeouts and cancellations: asked politely first, then by force; nobody else is disturbed."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from django_bgtasks.jobs.actions import cancel_job
from django_bgtasks.models import Attempt
from tests.waiting import patience, wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, wait_for_state

long = pytest.mark.long
TIMEOUT = 0.5
# A kill comes `kill_after` (2 s) after the timeout, and within 5 s by the promise.
SOFT, HARD = TIMEOUT + 1.5, TIMEOUT + 5.0
SOFT_CANCEL, HARD_CANCEL = 2.0, 5.0


@pytest.mark.long(after=2)
@pytest.mark.parametrize(
    ("task", "limit"),
    [
        pytest.param(tasks.sleep, SOFT, id="sleep"),
        pytest.param(tasks.spin, SOFT, id="endless loop"),
        pytest.param(tasks.sleep_async, SOFT, id="async"),
        pytest.param(tasks.sleep_without_mercy, HARD, id="swallows the exception", marks=long),
        pytest.param(tasks.hang_in_c, HARD, id="hangs in C with the GIL"),
    ],
)
def test_a_job_ends_at_its_timeout(
    bgworker: WorkerFactory, effects: Effects, task: Any, limit: float
) -> None:
    worker = bgworker()
    job = task.using(timeout=TIMEOUT).enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    began = time.monotonic()
    failed = wait_for_state(job, "failed")
    assert TIMEOUT - 0.2 < time.monotonic() - began < limit * patience()
    assert outcomes(job) == ["timeout"]
    assert failed.error.startswith("JobTimeout: ")
    killed = "Killing job process" in worker.output
    assert killed == (limit == HARD)
    wait_for_state(tasks.record.enqueue(str(effects), "next"), "succeeded", timeout=3)


def test_a_job_that_was_killed_at_its_timeout_follows_its_retry_policy(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    job = tasks.swallow_once.using(timeout=0.3).enqueue(str(effects))
    done = wait_for_state(job, "succeeded")
    assert (done.result, done.attempt) == ("second", 2)
    assert outcomes(job) == ["timeout"]


def test_the_timeout_of_one_attempt_leaves_the_full_time_to_the_next(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    first = tasks.sleep.using(timeout=0.3).enqueue(str(effects))
    second = tasks.wait_at_gate.using(timeout=30).enqueue(str(effects))
    wait_for_state(first, "failed")
    wait_until(lambda: effects.texts == ["begin", "begin"])
    # Longer than the first one's timeout and the time to its kill.
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.5)
    effects.open_gate()
    assert wait_for_state(second, "succeeded").attempt == 1


def test_a_queued_job_is_cancelled_at_once_and_never_runs(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    cancelled = tasks.record.enqueue(str(effects), "cancelled")
    other = tasks.record.enqueue(str(effects), "kept")
    assert cancel_job(cancelled.id) == "cancelled"
    assert bgworker("--burst").wait() == 0
    assert (row(cancelled).state, row(other).state) == ("cancelled", "succeeded")
    assert effects.texts == ["kept"]


@pytest.mark.long(after=2)
@pytest.mark.parametrize(
    ("task", "limit"),
    [
        pytest.param(tasks.sleep, SOFT_CANCEL, id="sleep"),
        pytest.param(tasks.sleep_async, SOFT_CANCEL, id="async"),
        pytest.param(tasks.sleep_without_mercy, HARD_CANCEL, id="swallows the exception"),
        pytest.param(tasks.hang_in_c, HARD_CANCEL, id="hangs in C with the GIL", marks=long),
    ],
)
def test_a_running_job_is_cancelled_and_its_neighbour_goes_on(
    bgworker: WorkerFactory, effects: Effects, task: Any, limit: float
) -> None:
    worker = bgworker("--processes", 2)
    neighbour = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    job = task.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin", "begin"])
    assert cancel_job(job.id) == "requested"
    wait_for_state(job, "cancelled", timeout=limit)
    assert outcomes(job) == ["cancelled"]
    killed = re.findall(r"Killing job process \d+: cancelled in job (\S+)\.", worker.output)
    assert killed == ([job.id] if limit == HARD_CANCEL else [])
    assert row(neighbour).state == "running"
    effects.open_gate()
    assert wait_for_state(neighbour, "succeeded").attempt == 1
    assert Attempt.objects.count() == 1
