"""What each end of an attempt leads to: decided by the product's own pure functions."""

from __future__ import annotations

import random
from functools import cache

from django_bgtasks.core.errors import RetryLater
from django_bgtasks.core.outcomes import (
    Failure,
    Outcome,
    crashed,
    interrupted,
    raised,
    released,
    undone,
)
from django_bgtasks.core.retry import Retry
from django_bgtasks.core.states import TRANSITIONS, State

MAX_ATTEMPTS = 3
AT_ONCE = Retry(max_attempts=MAX_ATTEMPTS, delays=[0], jitter=0)
NEVER = Retry(max_attempts=MAX_ATTEMPTS, on=())
WISHES = {"raise": ValueError(), "later": RetryLater(60)}
DEATH = Failure("crash")
RNG = random.Random(0)


@cache
def move_of(kind: str, attempt: int, on_crash: str) -> tuple[tuple[State, ...], State, bool]:
    """From which states, to which one, and whether the attempt is charged."""
    settlement = _settlement(kind, attempt, on_crash)
    allowed, target = TRANSITIONS[settlement.move]
    return tuple(allowed), target, settlement.charged


def _settlement(kind: str, attempt: int, on_crash: str) -> Outcome:
    if kind == "succeed":
        return Outcome("succeed")
    if kind in WISHES:
        error, retry = WISHES[kind], NEVER if on_crash == "fail" else AT_ONCE
        return raised(error, attempt, MAX_ATTEMPTS, retry, RNG)
    if kind == "undone":
        return undone(ConnectionError(), attempt, MAX_ATTEMPTS, on_crash, RNG)
    if kind == "crash":
        # Earlier crashes are attempts too, and three of these are the maximum here.
        return crashed(DEATH, attempt, MAX_ATTEMPTS, 0, on_crash)
    return interrupted(DEATH, on_crash) if kind == "interrupted" else released()
