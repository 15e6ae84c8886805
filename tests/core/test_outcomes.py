"""What an attempt came to, decided without a database."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from django_bgtasks import GiveUp, JobCancelled, JobTimeout, Retry, RetryLater
from django_bgtasks.core.messages import Reason
from django_bgtasks.core.outcomes import (
    Failure,
    Outcome,
    failure_of,
    outcome_of_crash,
    outcome_of_exception,
    outcome_of_release,
)
from django_bgtasks.core.retry import DEFAULT_RETRY
from django_bgtasks.core.states import Transition

SOON = Retry(max_attempts=3, delays=[5], jitter=0)
CRASH = Failure("crash")


def after(
    error: BaseException, attempt: int = 1, retry: Retry = SOON, attempts: int = 3
) -> Outcome:
    return outcome_of_exception(error, attempt, attempts, retry, Random(1))


def test_an_exception_is_retried_after_the_delay_of_the_policy() -> None:
    settlement = after(ValueError("no"))
    assert (settlement.transition, settlement.delay) == (Transition.RETRY_AT, timedelta(seconds=5))
    assert settlement.charged


def test_a_delay_of_zero_queues_the_job_again_at_once() -> None:
    assert after(ValueError(), retry=Retry(delays=[0])).transition is Transition.RETRY_NOW


def test_the_last_attempt_fails_the_job() -> None:
    assert after(ValueError(), attempt=3).transition is Transition.FAIL
    assert after(ValueError(), attempt=4).transition is Transition.FAIL


def test_an_exception_that_the_policy_does_not_want_fails_the_job() -> None:
    assert after(KeyError(), retry=Retry(on=OSError)).transition is Transition.FAIL


def test_without_a_policy_an_exception_fails_the_job() -> None:
    assert after(ValueError(), retry=DEFAULT_RETRY).transition is Transition.FAIL


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_what_is_no_exception_fails_the_job_by_default(error: BaseException) -> None:
    assert after(error).transition is Transition.FAIL


def test_give_up_fails_the_job_whatever_attempts_are_left() -> None:
    settlement = after(GiveUp("no such user"))
    assert settlement.transition is Transition.FAIL
    assert settlement.failure is not None
    assert settlement.failure.line == "GiveUp: no such user"


def test_retry_later_costs_no_attempt_and_is_no_failure() -> None:
    settlement = after(RetryLater(90), attempt=3)
    assert settlement == Outcome(Transition.RETRY_AT, delay=timedelta(seconds=90), charged=False)


def test_retry_later_without_a_delay_queues_the_job_at_once() -> None:
    """A scheduled job without a time would never be due."""
    assert after(RetryLater(0)) == Outcome(Transition.RELEASE, charged=False)


OUT_OF_RANGE = [
    *(-1, -0.001, 10**12, 1_767_225_600_000, 10**400, 10**5000, 1e300),
    *(float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("1e99")),
    *(timedelta.max, timedelta.min, timedelta(microseconds=-1), timedelta(days=36_501)),
]


@pytest.mark.parametrize("delay", OUT_OF_RANGE, ids=lambda delay: str(type(delay)))
def test_retry_later_takes_no_delay_out_of_range(delay: Any) -> None:
    text = r"^RetryLater: the delay is 0 to 3153600000 seconds \(36500 days\), not "
    with pytest.raises(ValueError, match=text):
        RetryLater(delay)


@pytest.mark.parametrize("delay", [0, 0.5, True, 3_153_600_000, Decimal("1.5"), Fraction(1, 3)])
def test_retry_later_takes_a_delay_of_each_kind_of_number(delay: Any) -> None:
    assert RetryLater(delay).delay == timedelta(seconds=float(delay))


@pytest.mark.parametrize("delay", ["60", None, [], 1j])
def test_retry_later_takes_no_delay_that_is_no_number(delay: Any) -> None:
    with pytest.raises(TypeError, match="is a timedelta or a number of seconds, not <class"):
        RetryLater(delay)


@pytest.mark.parametrize("delay", [timedelta.max, None, 10**12])
def test_a_delay_that_was_changed_to_nonsense_is_a_failure_and_no_crash(delay: Any) -> None:
    error = RetryLater(60)
    error.delay = delay
    settlement = after(error)
    assert settlement.failure is not None
    assert "RetryLater: the delay is" in settlement.failure.line


def test_a_subclass_of_retry_later_that_sets_no_delay_has_the_usual_one() -> None:
    class Busy(RetryLater):
        def __init__(self, host: str) -> None:
            self.host = host

    assert after(Busy("db1")).delay == timedelta(seconds=60)


def test_a_timeout_is_retried_like_an_exception() -> None:
    settlement = after(JobTimeout("too slow"))
    assert settlement.transition is Transition.RETRY_AT
    assert settlement.failure is not None
    assert settlement.failure.outcome == "timeout"


def test_a_cancelled_job_is_not_retried() -> None:
    settlement = after(JobCancelled("by ada"))
    assert settlement.transition is Transition.CANCEL_RUNNING
    assert settlement.failure is not None
    assert settlement.failure.outcome == "cancelled"


def after_crash(attempt: int, attempts: int, crashes: int, on_crash: str = "retry") -> Transition:
    return outcome_of_crash(CRASH, attempt, attempts, crashes, on_crash).transition


def test_a_crash_is_retried_at_once_while_attempts_are_left() -> None:
    assert after_crash(1, 3, crashes=0) is Transition.RETRY_NOW
    assert after_crash(3, 3, crashes=0) is Transition.FAIL


def test_the_third_crash_of_a_job_is_its_last() -> None:
    assert after_crash(2, 100, crashes=1) is Transition.RETRY_NOW
    assert after_crash(3, 100, crashes=2) is Transition.FAIL


def test_a_task_that_must_not_be_repeated_fails_at_its_first_crash() -> None:
    assert after_crash(1, 3, crashes=0, on_crash="fail") is Transition.FAIL


def test_a_release_costs_no_attempt() -> None:
    assert outcome_of_release() == Outcome(Transition.RELEASE, charged=False, begun=False)
    assert (
        outcome_of_release(Reason("no_transaction"), timedelta(seconds=9)).transition
        is Transition.RETRY_AT
    )


class Odd(Exception):
    """An exception with a __str__ of the caller's choice."""

    def __init__(self, text: Any) -> None:
        self.text = text

    def __str__(self) -> Any:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text


@pytest.mark.parametrize("odd", [ValueError("hm"), RecursionError(), SystemExit(), 7, None])
def test_an_exception_that_cannot_be_printed_is_described_all_the_same(odd: Any) -> None:
    failure = failure_of(Odd(odd))
    assert failure.exception_class == "tests.core.test_outcomes.Odd"
    assert "its __str__ raised" in failure.message
    assert failure.line.startswith("Odd: <its __str__ raised ")
    assert "Odd" in failure.traceback


@pytest.mark.parametrize("base", [Exception, GiveUp])
def test_an_exception_whose_reason_cannot_be_read_is_described_all_the_same(base: Any) -> None:
    def reason(error: BaseException) -> Any:
        raise RuntimeError("there was no answer")

    error = type("Refused", (base,), {"reason": property(reason)})("no")
    assert failure_of(error).line == "Refused: no"


def test_a_failure_is_told_in_one_line_that_fits_its_column() -> None:
    failure = failure_of(ValueError("x" * 10**6 + "\nsecond line"))
    assert failure.line.startswith("ValueError: xxx")
    assert len(failure.line) == 255
    assert len(failure.traceback) <= 64 * 1024


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_message_that_no_database_stores_is_made_one_that_it_does(text: str) -> None:
    failure = failure_of(ValueError(text))
    for part in (failure.message, failure.line, failure.traceback):
        assert "\0" not in part
        assert part.encode()


def test_a_chain_of_causes_that_leads_to_itself_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in failure_of(first).traceback


def test_a_very_deep_group_of_exceptions_is_described() -> None:
    error: Exception = ValueError("at the bottom")
    for _ in range(3000):
        error = ExceptionGroup("group", [error])
    assert "ExceptionGroup" in failure_of(error).traceback


def test_a_secret_at_the_end_of_what_is_stored_is_not_half_shown() -> None:
    secret = "4111-1111-1111-1111"
    error = ValueError(f"{'x' * 250}{secret} is refused")
    failure = failure_of(error).redacted(lambda text: text.replace(secret, "[hidden]"))
    assert failure.message == f"{'x' * 250}[hidd"
    given = Failure("failed", params={"why": f"{'x' * 250}{secret}"})
    assert given.redacted(lambda text: text.replace(secret, "[hidden]")).params == {
        "why": f"{'x' * 250}[hidd"
    }
