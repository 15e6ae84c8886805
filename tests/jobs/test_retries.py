"""What an exception leads to, through the real state machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_bgtasks import job_retrying
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import retry_job
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.app.tasks import fail

from .tasks import again_later, hopeless, picky, third_time_lucky

pytestmark = pytest.mark.django_db


def test_a_job_is_tried_until_it_succeeds_with_the_delays_of_its_policy(
    make_due: Callable[[], None],
) -> None:
    result = third_time_lucky.enqueue()
    assert len(run_jobs()) == 2, "the first retry is due at once"
    job = Job.objects.get()
    assert (job.state, job.attempt) == ("scheduled", 2)
    assert job.run_after is not None
    assert timedelta(0) < job.run_after - clock.now() < timedelta(seconds=301)
    make_due()
    assert [job.result for job in run_jobs()] == [3]
    result.refresh()
    assert (result.attempts, result.return_value) == (3, 3)
    assert [error.exception_class for error in result.errors] == [ConnectionError] * 2


def test_after_its_last_attempt_a_job_is_failed_and_stays() -> None:
    result = picky.enqueue("wanted")
    assert len(run_jobs()) == 3
    result.refresh()
    assert (result.job.state, result.attempts, len(result.errors)) == ("failed", 3, 3)
    assert run_jobs() == []


@pytest.mark.parametrize("error", ["unwanted", "other"])
def test_an_exception_that_the_policy_does_not_want_is_final(error: str) -> None:
    picky.enqueue(error)
    assert [job.state for job in run_jobs()] == ["failed"]


def test_without_a_policy_an_exception_is_final() -> None:
    fail.enqueue("no")
    [job] = run_jobs()
    assert (job.state, job.error, job.attempts.count()) == ("failed", "ValueError: no", 1)


def test_give_up_is_final_whatever_attempts_are_left() -> None:
    hopeless.enqueue()
    [job] = run_jobs()
    assert (job.state, job.attempt, job.error) == ("failed", 1, "GiveUp: there is no such user")


def test_retry_later_costs_no_attempt_however_often_it_is_raised(
    make_due: Callable[[], None],
) -> None:
    again_later.enqueue(60)
    for _ in range(5):
        make_due()
        assert [job.state for job in run_jobs()] == ["scheduled"]
    job = Job.objects.get()
    assert (job.attempt, job.attempts.count(), job.error) == (0, 0, "")
    assert job.run_after is not None
    assert job.run_after > clock.now()


def test_retry_later_without_a_delay_runs_again_at_once() -> None:
    again_later.enqueue(0)
    with pytest.raises(RuntimeError, match="ran 5 jobs"):
        run_jobs(limit=5)
    assert Job.objects.get().state == "queued", "and the one that was too many is not claimed"


def test_receivers_are_told_of_a_retry_with_the_exception_at_hand() -> None:
    events: list[Any] = []

    def receiver(task_result: Any, **kwargs: Any) -> None:
        events.append((task_result.id, task_result.attempts, str(task_result.status)))

    job_retrying.connect(receiver)
    try:
        result = third_time_lucky.enqueue()
        run_jobs()
    finally:
        job_retrying.disconnect(receiver)
    assert events == [(result.id, 1, "READY"), (result.id, 2, "READY")]


def test_a_failed_job_that_a_person_retries_has_another_attempt() -> None:
    result = picky.enqueue("wanted")
    run_jobs()
    assert retry_job(result.id).state == "queued"
    assert [job.attempt for job in run_jobs()] == [4]
