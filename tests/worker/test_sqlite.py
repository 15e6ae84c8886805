"""SQLite has one writer at a time: all who write wait for each other, and nobody is turned away."""

from __future__ import annotations

import pytest

from django_bgtasks.models import Attempt, Job, Worker
from tests.app.tasks import add
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, unfinished, wait_for_state

AT_ONCE, ONE_BY_ONE = 9_000, 1_000


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.sqlite
def test_a_task_that_keeps_the_database_for_longer_than_a_silent_worker_lives_runs_once(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker()
    job = tasks.keeps_the_database.enqueue(str(effects), 14.0)
    wait_for_state(job, "succeeded", timeout=40)
    assert effects.texts == ["begin"]
    assert (row(job).attempt, outcomes(job)) == (1, [])
    assert "Killing" not in worker.output
    assert Worker.objects.count() == 1


@pytest.mark.slow
@pytest.mark.sqlite
def test_two_processes_a_site_and_maintenance_write_ten_thousand_jobs_without_a_lock_error(
    bgworker: WorkerFactory,
) -> None:
    worker = bgworker("--processes", 2, "--verbosity", 1)
    add.enqueue_many([(number, 1) for number in range(AT_ONCE)])
    for number in range(ONE_BY_ONE):
        add.enqueue(number, 1)
    wait_until(lambda: unfinished() == 0, timeout=240)
    assert Job.objects.filter(state="succeeded", attempt=1).count() == AT_ONCE + ONE_BY_ONE
    assert not Attempt.objects.exists()
    assert "locked" not in worker.log.read_text()
