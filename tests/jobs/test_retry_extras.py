"""What a job and its task may say about further attempts, and about failures that are expected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_bgtasks import GiveUp, JobTimeout, Retry, RetryLater, task
from django_bgtasks.core import clock
from django_bgtasks.core.compat import InvalidTask, api_signals
from django_bgtasks.core.messages import Reason
from django_bgtasks.core.outcomes import DeathCause
from django_bgtasks.core.retry import retry_of, stored_retry
from django_bgtasks.ledger.lifecycle import claim
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.worker.maintenance.dead_processes import Death, settle_death

pytestmark = pytest.mark.django_db
DB = "default"


class Down(ConnectionError):
    """The partner does not answer."""

    class Again(Exception):
        """Within another class."""


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with without_redis():
        yield


@task(retry=Retry(max_attempts=2, delays=[0]))
def busy(delay: float = 0) -> None:
    raise RetryLater(delay, counted=True)


@task
def busy_without_retries() -> None:
    raise RetryLater(0, counted=True)


@task(takes_context=True)
def tells_the_last(context: Any) -> None:
    LAST.append(context.is_last_attempt)
    raise Down("no answer")


@task(retry=Retry(max_attempts=3, delays=[0], on=Down), expected=Down)
def calls(error: str) -> None:
    raise {"expected": Down("no answer"), "other": KeyError("x"), "give up": GiveUp("no")}[error]


@task(expected=[JobTimeout])
def slow() -> None:
    """Takes too long."""


LAST: list[bool] = []


def now(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def test_a_counted_retry_later_costs_an_attempt_and_after_the_last_the_job_fails() -> None:
    job = busy.enqueue().job
    run_jobs()
    row = now(job)
    assert (row.state, row.attempt, row.error) == ("failed", 2, "RetryLater: again in 0 s")
    assert [attempt.outcome for attempt in row.attempts.all()] == ["failed", "failed"]


def test_a_counted_retry_later_has_its_own_delay() -> None:
    job = busy.enqueue(3600).job
    run_jobs()
    row = now(job)
    assert (row.state, row.attempt) == ("scheduled", 1)
    assert row.run_after is not None
    # SQLite counts in milliseconds, by its own reading of the clock.
    assert 3000 < (row.run_after - clock.now()).total_seconds() < 3601


def test_a_task_without_retries_may_ask_for_counted_ones_too() -> None:
    job = busy_without_retries.enqueue().job
    run_jobs()
    assert (now(job).state, now(job).attempt, now(job).max_attempts) == ("failed", 3, 3)


@pytest.mark.parametrize(
    ("retry", "told"),
    [
        (None, [True]),
        (Retry(max_attempts=3, delays=[0]), [False, False, True]),
        (Retry(max_attempts=1), [True]),
    ],
)
def test_a_task_knows_its_last_attempt(retry: Retry | None, told: list[bool]) -> None:
    LAST.clear()
    definition = tells_the_last if retry is None else tells_the_last.using(retry=retry)
    definition.enqueue()
    run_jobs()
    assert told == LAST


def test_a_job_may_have_a_retry_of_its_own() -> None:
    usual = tells_the_last.enqueue().job
    own = tells_the_last.using(retry=Retry(max_attempts=2, delays=[0], on=Down)).enqueue().job
    assert (now(usual).retry, now(own).max_attempts) == (None, 2)
    run_jobs()
    assert (now(usual).attempt, now(own).attempt) == (1, 2)
    assert {now(job).state for job in (usual, own)} == {"failed"}
    assert tells_the_last.using(retry=tells_the_last.retry).enqueue().job.retry is None
    assert tells_the_last.using(priority=3).enqueue().job.retry is None


def test_the_timeout_of_a_killed_process_follows_the_retry_of_the_job() -> None:
    job = slow.using(retry=Retry(max_attempts=2, delays=[0], on=JobTimeout)).enqueue().job
    for state in ("queued", "failed"):
        held = claim(job.pk, clock.new_id(), DB)
        assert held is not None
        assert settle_death(
            Death(held.pk, held.claims, held.worker, DeathCause.TIMEOUT, Reason("worker_gone")), DB
        )
        assert now(job).state == state


def test_many_calls_and_replaced_ones_have_the_retry_that_was_given() -> None:
    given = Retry(max_attempts=7, delays=[5], on=Down)
    results = calls.using(retry=given).enqueue_many([("expected",)] * 2)
    assert {retry_of(now(result.job).retry, calls) for result in results} == {given}
    keyed = calls.using(dedup_key="{error}", on_duplicate="replace")
    first = keyed.enqueue("expected").job
    keyed.using(retry=given).enqueue("expected")
    assert (retry_of(now(first).retry, calls), now(first).max_attempts) == (given, 7)


@pytest.mark.parametrize(
    "retry",
    [
        Retry(),
        Retry(max_attempts=8, backoff="exponential", base=5, cap=600, jitter=0.2),
        Retry(delays=[0.5, 60], on=(OSError, Down.Again), not_on=FileNotFoundError),
        Retry(on=()),
    ],
)
def test_a_stored_retry_is_what_was_given(retry: Retry) -> None:
    job = busy.using(retry=retry).enqueue().job
    assert retry_of(now(job).retry, busy) == retry


def test_a_class_that_no_worker_could_import_is_refused() -> None:
    class Local(Exception):
        pass

    with pytest.raises(InvalidTask, match="a worker could not import"):
        busy.using(retry=Retry(on=Local))


def test_a_class_that_is_gone_meanwhile_is_no_reason_to_fail_in_another_way() -> None:
    stored = {**stored_retry(Retry(on=(Down, OSError))), "more": 1}
    stored["on"][0] = "tests.gone:Down"
    assert retry_of(stored, busy).on == (OSError,)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """The records of the tasks API about the jobs that have ended, at WARNING and above."""
    caplog.set_level(logging.INFO)

    def found() -> list[logging.LogRecord]:
        names = {"django.tasks", "django_tasks"}
        return [
            record
            for record in caplog.records
            if record.name in names and "FAILED" in record.getMessage()
        ]

    return found


def test_an_expected_exception_is_no_error_in_the_log(
    errors: Callable[[], list[logging.LogRecord]],
) -> None:
    heard: list[str] = []

    def hear(task_result: Any, **kwargs: Any) -> None:
        heard.append(str(task_result.status))

    api_signals.task_finished.connect(hear)
    try:
        job = calls.enqueue("expected").job
        run_jobs()
    finally:
        api_signals.task_finished.disconnect(hear)
    assert (now(job).state, now(job).attempt, heard) == ("failed", 3, ["FAILED"])
    assert {(record.levelname, record.exc_info) for record in errors()} == {("WARNING", None)}
    assert "Down: no answer" in now(job).error


@pytest.mark.parametrize("error", ["other", "give up"])
def test_another_exception_is_one_also_after_an_expected_one(
    error: str, errors: Callable[[], list[logging.LogRecord]]
) -> None:
    calls.enqueue("expected")
    run_jobs()
    count = len(errors())
    calls.enqueue(error)
    run_jobs()
    later = errors()[count:]
    assert {record.levelname for record in later} == {"ERROR"}
    assert all(record.exc_info for record in later)


def test_an_expected_timeout_is_none_also_if_the_process_was_killed(
    errors: Callable[[], list[logging.LogRecord]],
) -> None:
    held = claim(slow.enqueue().job.pk, clock.new_id(), DB)
    assert held is not None
    settle_death(
        Death(held.pk, held.claims, held.worker, DeathCause.TIMEOUT, Reason("worker_gone")), DB
    )
    assert now(held).state == "failed"
    assert {record.levelname for record in errors()} == {"WARNING"}


@pytest.mark.parametrize("wrong", ["ValueError", 7, (7,), ("ValueError",), None])
def test_what_is_no_class_of_exceptions_cannot_be_expected(wrong: Any) -> None:
    with pytest.raises(InvalidTask, match="expected takes exception classes"):
        task(expected=wrong)(slow.func)
