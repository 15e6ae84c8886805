"""A connection to MySQL or MariaDB that is lost amid a task; the fault plan has the others."""

from __future__ import annotations

import pytest

from tests.faults.value_tasks import (
    ANSWERS,
    LOSSES,
    loses_its_connection,
    loses_its_connection_async,
    loses_its_transaction,
)
from tests.workers import WorkerFactory

from .jobs import row

pytestmark = pytest.mark.mysql


def test_a_task_whose_connection_is_lost_goes_on(bgworker: WorkerFactory) -> None:
    sync = [loses_its_connection.enqueue(way) for way in LOSSES]
    beside = [loses_its_connection_async.enqueue(way) for way in LOSSES]
    assert bgworker("--burst", "--async-concurrency", 1).wait(60) == 0
    for job in map(row, [*sync, *beside]):
        assert (job.error, job.state, job.attempt) == ("", "succeeded", 1), job.args
        assert job.progress == {"done": 1, "total": 1, "message": "it goes on"}
    assert [row(job).result for job in sync] == [ANSWERS] * len(LOSSES)
    assert [row(job).result for job in beside] == [ANSWERS[:3]] * len(LOSSES)


def test_a_task_whose_transaction_is_lost_fails_with_that_error(bgworker: WorkerFactory) -> None:
    jobs = [loses_its_transaction.enqueue(way, "atomic") for way in LOSSES]
    assert bgworker("--burst").wait(60) == 0
    assert [row(job).state for job in jobs] == ["failed"] * len(jobs)
