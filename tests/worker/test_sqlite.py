"""SQLite has one writer at a time: all who write wait for each other, and nobody is turned away."""

from __future__ import annotations

import pytest

from django_bgtasks.models import Attempt, Job
from tests.app.tasks import add
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from .jobs import unfinished

AT_ONCE, ONE_BY_ONE = 9_000, 1_000


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
