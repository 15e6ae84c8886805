"""Time limits and priorities of Celery as ours."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ...core.limits import Rate
from ...core.options import entries
from .conf import configured
from .errors import refuse_task

# The seconds of the periods of a rate limit.
PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}

# The longest timeout that a job may have, in seconds: what Celery does without one.
NO_LIMIT = 10.0**7
LEAST_PRIORITY, MOST_PRIORITY = -100, 100
REDIS = ("redis", "rediss", "sentinel", "socket")


def rate_of_limit(name: str, rate_limit: Any) -> Rate:
    """A rate limit of Celery, such as "100/m", as one of ours: it counts across all workers."""
    text = str(rate_limit)
    count, _slash, unit = text.partition("/")
    try:
        starts, per = Fraction(count), PERIODS[unit or "s"]
        # Not a half of a start, but one in twice the time.
        whole = starts.limit_denominator(1000)
        return Rate(name, whole.numerator, per=per * whole.denominator)
    except (KeyError, ValueError, ZeroDivisionError):
        raise refuse_task(
            name, f"rate_limit takes so many starts, as in '100/m', not {rate_limit!r}."
        ) from None


def check_limits(hard: float | None, soft: float | None) -> None:
    """Raise ValueError where the soft limit comes after the hard one."""
    if hard and soft and soft > hard:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")


def timeout_of(time_limit: float | None, backend: str) -> float | None:
    """The timeout of a task: its time limit, else that of OPTIONS, else none, as with Celery."""
    limit = time_limit or configured("task_time_limit")
    if limit:
        return float(limit)
    has_own = "timeout" in (entries().get(backend, {}).get("OPTIONS") or {})
    return None if has_own else NO_LIMIT


def our_priority(priority: Any) -> int:
    """A priority of Celery as one of ours, where the higher one is first.

    With Redis as the broker of Celery 0 is first there, with AMQP 9.
    """
    url = str(configured("broker_url", "") or "")
    number = int(priority)
    is_turned = url.partition("://")[0].partition("+")[0] in REDIS
    return max(LEAST_PRIORITY, min(MOST_PRIORITY, -number if is_turned else number))
