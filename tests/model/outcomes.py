"""What each end of an attempt leads to: decided by the product's own pure functions."""

from __future__ import annotations

import random
from functools import cache

from django_bgtasks.core.errors import RetryLater
from django_bgtasks.core.outcomes import (
    Failure,
    Outcome,
    outcome_of_crash,
    outcome_of_exception,
    outcome_of_interruption,
    outcome_of_release,
    outcome_of_rollback,
)
from django_bgtasks.core.retry import Retry
from django_bgtasks.core.states import State, Transition

MAX_ATTEMPTS = 3
AT_ONCE = Retry(max_attempts=MAX_ATTEMPTS, delays=[0], jitter=0)
NEVER = Retry(max_attempts=MAX_ATTEMPTS, on=())
WISHES = {"raise": ValueError(), "later": RetryLater(60)}
DEATH = Failure("crash")
RNG = random.Random(0)


@cache
def transition_of(
    kind: str, attempt: int, on_crash: str
) -> tuple[tuple[State, ...], State, bool, bool]:
    """From which states, to which one, whether the attempt is charged, and whether it had begun."""
    outcome = _outcome(kind, attempt, on_crash)
    transition = outcome.transition
    return transition.sources, transition.target, outcome.charged, outcome.begun


def _outcome(kind: str, attempt: int, on_crash: str) -> Outcome:
    if kind == "succeed":
        return Outcome(Transition.SUCCEED)
    if kind in WISHES:
        error, retry = WISHES[kind], NEVER if on_crash == "fail" else AT_ONCE
        return outcome_of_exception(error, attempt, MAX_ATTEMPTS, retry, RNG)
    if kind == "rollback":
        return outcome_of_rollback(ConnectionError(), attempt, MAX_ATTEMPTS, on_crash, RNG)
    if kind == "crash":
        # Earlier crashes are attempts too, and three of these are the maximum here.
        return outcome_of_crash(DEATH, attempt, MAX_ATTEMPTS, 0, on_crash)
    return (
        outcome_of_interruption(DEATH, on_crash) if kind == "interrupted" else outcome_of_release()
    )
