"""What tasks do to their process: values that no database keeps, and lost connections."""

from __future__ import annotations

import pytest
from django.db import connection

from . import value_tasks
from .case import Case
from .value_tasks import ANSWERS, LOSSES, ODD

pytestmark = pytest.mark.faults
SQLITE = ["closed", "closed at the driver"]
WAYS = [way for way in LOSSES if way in SQLITE or connection.vendor != "sqlite"]


def test_a_task_whose_connection_is_lost_goes_on(case: Case) -> None:
    case.row(
        "Isolation",
        "A connection lost amid a task, at each question and step",
        times=18 * len(WAYS),
    )
    sync = [case.enqueue(value_tasks.loses_its_connection, way) for way in WAYS]
    beside = [case.enqueue(value_tasks.loses_its_connection_async, way) for way in WAYS]
    # One at a time: side by side they would end each other's connection.
    case.drain("--async-concurrency", 1)
    for job in map(case.job, [*sync, *beside]):
        assert (job.error, job.state, job.attempt) == ("", "succeeded", 1), job.args
        assert job.progress == {"done": 1, "total": 1, "message": "it goes on"}
    assert [case.job(job).result for job in sync] == [ANSWERS] * len(WAYS)
    assert [case.job(job).result for job in beside] == [ANSWERS[:3]] * len(WAYS)


def test_a_task_whose_transaction_is_lost_fails_with_that_error(case: Case) -> None:
    calls = [(way, "atomic") for way in WAYS]
    if connection.vendor != "sqlite":
        calls.append(("killed", "SQL"))
    case.row("Isolation", "A connection lost amid a task's transaction", times=len(calls))
    jobs = [case.enqueue(value_tasks.loses_its_transaction, *call) for call in calls]
    case.drain()
    for job in map(case.job, jobs):
        assert job.state == "failed", job.args
        assert job.error.partition(":")[0] in (
            "OperationalError",
            "InterfaceError",
            "ProgrammingError",
        ), job.args


def test_progress_that_is_no_progress_harms_no_job(case: Case) -> None:
    case.row("Isolation", "Progress that is no number, or no text", times=len(ODD) ** 2)
    job = case.enqueue(value_tasks.tells_odd_progress)
    worker = case.worker("--burst")
    case.may_end.add(worker.pid)
    assert worker.wait(60) == 0
    assert (case.job(job).error, case.job(job).state) == ("", "succeeded")
    assert case.job(job).progress == {"done": 0.5, "total": 1, "message": ""}
    assert worker.output.count("A progress that is no finite number") == 1


def test_a_delay_that_is_out_of_range_fails_its_job_once_and_says_why(case: Case) -> None:
    case.row("Isolation", "RetryLater with milliseconds for seconds")
    job = case.enqueue(value_tasks.takes_milliseconds_for_seconds)
    case.drain()
    failed = case.job(job)
    assert (failed.state, failed.attempt) == ("failed", 1)
    assert failed.error.startswith("ValueError: RetryLater: the delay is 0 to 3153600000 seconds")
    assert case.outcomes(job) == ["failed"]


def test_an_amount_of_another_call_is_no_receipt_of_this_one(case: Case) -> None:
    case.row("Isolation", "once() with a key that was used for another amount", times=2)
    other = case.enqueue(value_tasks.charges, "20", "9999")
    same = case.enqueue(value_tasks.charges, "20", "20.00")
    case.drain()
    assert case.job(other).error.startswith("FingerprintMismatch: ")
    assert case.job(same).result == "20"
