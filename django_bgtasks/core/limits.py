"""Limits and sequences: how many jobs of one key may run at once, and in which order.

A lane is the line of the jobs of one key. N places belong to it, numbered from 1; a job that has
one may run. Several tasks may share a key, and so a lane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from .compat import InvalidTask
from .errors import InvalidArguments
from .labels import key_from, names_in
from .spans import span_of
from .states import FINAL, Transition

LimitKey = str | Callable[..., str | None]
OnFailed = Literal["hold", "skip"]
MAX_PLACES = 1000
LONGEST_PERIOD = timedelta(days=31)
WAYS = ("wait", "skip")
ON_FAILED = ("hold", "skip")


class LaneMode(StrEnum):
    """How a job goes through its lane.

    Those of a limit have their place for one attempt, those of a sequence until they are final.
    """

    WAIT = "wait"
    # Of a limit too: if no place is free, the job is cancelled.
    SKIP = "skip"
    # Of a sequence: a job that has failed keeps its place until a person decides.
    HOLD = "hold"
    # Of a sequence: after one that has failed the next one follows.
    NEXT = "next"


# Their jobs keep the place through delayed retries, and are not overtaken by a higher priority.
IN_ORDER = frozenset({LaneMode.HOLD, LaneMode.NEXT})


@dataclass(frozen=True)
class Limit:
    """At most so many jobs of one key at once, across all workers and all tasks with this key.

    key: a format string over the call's arguments, or a callable of them; None for no limit.
    at_once: how many, from 1 to 1,000, or a callable of the key, which may also say 0.
    when_busy: "wait" for a place, or "skip": the job is cancelled if none is free.
    """

    key: LimitKey
    at_once: int | Callable[[str], int] = 1
    when_busy: Literal["wait", "skip"] = "wait"


def gives_up_place(mode: str, transition: Transition) -> bool:
    """Whether a job with a place has none any more after this transition out of `running`."""
    if transition is Transition.FAIL:
        return mode != LaneMode.HOLD
    if transition is Transition.RETRY_AT:
        return mode not in IN_ORDER
    return transition.target in FINAL


@dataclass(frozen=True)
class Rate:
    """At most so many starts in any period of this length, across all workers and tasks.

    key: a format string over the call's arguments, or a callable of them; None for no rate.
    count: how many starts, from 1 to 1,000: they may be at once. per: the period, in seconds or as
    a timedelta. Each attempt is a start.
    """

    key: LimitKey
    count: int
    per: timedelta | float


@dataclass(slots=True)
class TakenSeat:
    """A seat that a worker has taken for a job that it is about to begin.

    earliest, begin: when the seat is free, by this host's monotonic clock: not before the first of
    them, and not after the second one, before which the job may not begin. free_at: when others can
    have it, in seconds since 1970 by the database's clock. has_begun: the job. ended: when its task
    has returned.
    """

    number: int
    earliest: float
    begin: float
    free_at: float
    has_begun: bool = False
    ended: float | None = None


class Lane(NamedTuple):
    """Where a call waits for its turn; see the columns of Job."""

    key: str
    at_once: int
    mode: LaneMode


def lane_of(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Lane | None:
    """The lane of this call of the task; None if it has none."""
    limit, sequence = task.limit, task.sequence
    if sequence is not None:
        key = key_from("sequence", sequence, task, args, kwargs)
        mode = LaneMode.HOLD if task.on_failed == "hold" else LaneMode.NEXT
        return None if key is None else Lane(key, 1, mode)
    key = key_from("key of the limit", limit.key, task, args, kwargs)
    if key is None:
        return None
    return Lane(key, _places(task, limit.at_once, key), LaneMode(limit.when_busy))


def rate_of(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """The key of the rate of this call of the task; None if it has none."""
    return key_from("key of the rate", task.rate.key, task, args, kwargs)


def prefix_of(key: str) -> str:
    """What keys of one kind have in common: what stands before the first colon."""
    return key.partition(":")[0]


def check_limit(task: Any) -> None:
    """Refuse a limit or a sequence that is none, with InvalidTask."""
    name, limit, sequence = task.module_path, task.limit, task.sequence
    if limit is not None and sequence is not None:
        raise InvalidTask(
            f"{name}: a task has a limit or a sequence, and not both: a sequence is a limit of one "
            f"at once, in order."
        )
    if task.on_failed not in ON_FAILED:
        raise InvalidTask(f"{name}: on_failed is 'hold' or 'skip', not {task.on_failed!r}.")
    if sequence is not None:
        _check_key(task, "sequence", sequence)
    if task.rate is not None:
        _check_rate(task)
    if limit is None:
        return
    if not isinstance(limit, Limit):
        raise InvalidTask(
            f'{name}: limit takes a Limit, such as Limit("stripe:{{account}}", at_once=5), not '
            f"{limit!r}."
        )
    _check_key(task, "the key of its limit", limit.key)
    if not callable(limit.at_once) and not is_at_once(limit.at_once, least=1):
        raise InvalidTask(
            f"{name}: at_once is a whole number from 1 to {MAX_PLACES:,}, or a callable of the "
            f"key, not {limit.at_once!r}."
        )
    if limit.when_busy not in WAYS:
        raise InvalidTask(f"{name}: when_busy is 'wait' or 'skip', not {limit.when_busy!r}.")


def _check_rate(task: Any) -> None:
    name, rate = task.module_path, task.rate
    if not isinstance(rate, Rate):
        raise InvalidTask(f'{name}: rate takes a Rate, such as Rate("stripe", 100, per=60).')
    _check_key(task, "the key of its rate", rate.key)
    if not is_at_once(rate.count, least=1):
        raise InvalidTask(
            f"{name}: the count of a rate is a whole number from 1 to {MAX_PLACES:,}, not "
            f"{rate.count!r}. For more give a shorter period: 6,000 a minute are 100 a second."
        )
    if isinstance(rate.per, bool):
        raise InvalidTask(f"{name}: the period of a rate is in seconds, or a timedelta: {rate!r}.")
    try:
        span = span_of(rate.per, "per")
    except (TypeError, ValueError) as error:
        raise InvalidTask(f"{name}: {error}") from None
    if not timedelta(0) < span <= LONGEST_PERIOD:
        raise InvalidTask(f"{name}: the period of a rate is above 0 s and at most 31 days.")


def is_at_once(value: object, least: int = 0) -> bool:
    """Whether so many jobs may be allowed to run at once."""
    return type(value) is int and least <= value <= MAX_PLACES


def _places(task: Any, at_once: Any, key: str) -> int:
    if not callable(at_once):
        return int(at_once)
    count: Any = at_once(key)
    if not is_at_once(count):
        raise InvalidArguments(
            f"{task.module_path}: at_once gave {count!r} for the key {key!r}; it must give a whole "
            f"number from 0 to {MAX_PLACES:,}. Nothing was enqueued."
        )
    return int(count)


def _check_key(task: Any, what: str, key: Any) -> None:
    name = task.module_path
    if not (isinstance(key, str) and key) and not callable(key):
        raise InvalidTask(f"{name}: {what} is a format string or a callable, not {key!r}.")
    if secret := sorted(names_in(key) & set(task.sensitive)):
        raise InvalidTask(
            f"{name}: {what} names {', '.join(secret)}, which is sensitive: it would be read in "
            f"the admin and in metrics. Name another argument."
        )
