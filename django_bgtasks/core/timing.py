"""When the jobs of a schedule are due: pure, without a table and without a clock.

A tick is a moment, aware and in UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, Self

from django.conf import settings

from .clock import EPOCH, in_utc
from .cron import ClockTimes, TimesOfDay, check_cron, times_of, zone_of
from .errors import InvalidSchedule
from .spans import span_of

CATCH_UP = ("latest", "all", "none")
OVERLAP = ("skip", "allow", "wait")
# The length of the column.
NAME_LENGTH = 200
# How late a tick may be that catch_up="none" still takes as in time.
ON_TIME = timedelta(seconds=60)
# How many ticks are made up in one transaction.
BATCH = 100

SECOND = timedelta(seconds=1)
JUST_BEFORE = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What a schedule has besides its times.

    name: tells the schedules of one task apart. args, kwargs: what the task is called with.
    catch_up: which of the ticks that nobody was there for get a job: the "latest", "all" or "none".
    overlap: what a tick does while the job of an earlier one is not final: "skip", "allow", "wait".
    grace: a tick that is later than that gets no job. jitter: up to so many seconds later, a job
    may start. when: is asked with the tick, or its dotted path; False skips the tick.
    Raises InvalidSchedule.
    """

    name: str = ""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    catch_up: str = "latest"
    overlap: str = "skip"
    grace: timedelta | None = None
    jitter: float = 0
    when: Callable[[datetime], bool] | str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > NAME_LENGTH:
            raise InvalidSchedule.of("schedule_name", length=NAME_LENGTH)
        is_call = isinstance(self.args, list | tuple)
        if not is_call or not isinstance(self.kwargs, Mapping | None):
            raise InvalidSchedule.of("schedule_call")
        for policy, choices in (("catch_up", CATCH_UP), ("overlap", OVERLAP)):
            if (value := getattr(self, policy)) not in choices:
                raise InvalidSchedule.of(
                    "policy_choice", policy=policy, choices=", ".join(choices), value=repr(value)
                )
        if self.grace is not None:
            grace = _span("grace", self.grace)
            if grace < SECOND:
                # Each tick is a little late.
                raise InvalidSchedule.of("grace_range", value=str(grace))
            object.__setattr__(self, "grace", grace)
        object.__setattr__(self, "jitter", _span("jitter", self.jitter).total_seconds())
        if not (self.when is None or callable(self.when) or _is_path(self.when)):
            raise InvalidSchedule.of("schedule_when", value=repr(self.when))


@dataclass(frozen=True)
class Cron(Policies):
    """At the times of a cron expression, such as Cron("0 6 * * MON-FRI", zone="Europe/Berlin").

    Five fields, or six with the seconds first, or a name such as "@daily".
    zone: in which time zone; that of the settings (TIME_ZONE) if none is given.
    Raises InvalidSchedule for what cannot be read, or never comes.
    """

    expression: str
    zone: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "expression", check_cron(self.expression))
        if self.zone is not None:
            zone_of(self.zone)

    def rule(self, anchor: datetime) -> Rule:
        """How it counts."""
        return Rule(self.expression, None, self.zone or settings.TIME_ZONE, anchor)


@dataclass(frozen=True)
class Every(Policies):
    """At a fixed interval, such as Every(minutes=10) or Every(timedelta(hours=36)).

    It counts in UTC from when the schedule was first made, over restarts and changes of clocks.
    `seconds` is the whole interval, at least 1. Raises InvalidSchedule.
    """

    interval: InitVar[timedelta | float | None] = None
    weeks: InitVar[float] = field(default=0, kw_only=True)
    days: InitVar[float] = field(default=0, kw_only=True)
    hours: InitVar[float] = field(default=0, kw_only=True)
    minutes: InitVar[float] = field(default=0, kw_only=True)
    seconds: float = field(default=0, kw_only=True)

    def __post_init__(
        self,
        interval: timedelta | float | None,
        weeks: float,
        days: float,
        hours: float,
        minutes: float,
    ) -> None:
        super().__post_init__()
        try:
            length = timedelta(
                weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=self.seconds
            )
            if interval is not None:
                length += span_of(interval, "Every()")
            length = span_of(length, "Every()")
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidSchedule.of("every_range", value=str(interval)) from error
        if length < SECOND:
            raise InvalidSchedule.of("every_range", value=str(length))
        object.__setattr__(self, "seconds", length.total_seconds())

    def rule(self, anchor: datetime) -> Rule:
        """How it counts."""
        return Rule("", self.seconds, "", anchor)


Timing = Cron | Every


class Timed(Protocol):
    """What has times: the row of a schedule."""

    cron: str
    every: float | None
    zone: str
    anchor: datetime


@dataclass(frozen=True)
class Rule:
    """The times of a schedule. cron is a checked expression, or empty if `every` has seconds.

    anchor: from when `every` counts; it is its first tick, for who asks from before it.
    """

    cron: str
    every: float | None
    zone: str
    anchor: datetime

    @classmethod
    def of(cls, row: Timed) -> Self:
        """That of a row."""
        return cls(row.cron, row.every, row.zone or settings.TIME_ZONE, row.anchor)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick strictly later than the moment; None if there is none."""
        moment, times = in_utc(moment), self._times()
        with suppress(OverflowError):
            return times.next_after(moment)
        return None

    def last_until(self, moment: datetime, not_before: datetime) -> datetime | None:
        """The last tick that is not later than one moment and not earlier than the other.

        It counts back from the end, so that weeks of ticks between them cost nothing.
        """
        times = self._times()
        with suppress(OverflowError):
            tick = times.last_until(in_utc(moment))
            if tick is not None and tick >= in_utc(not_before):
                return tick
        return None

    def between(self, start: datetime, end: datetime, limit: int) -> list[datetime]:
        """The ticks from start to end, both included, at most `limit` of them."""
        end, ticks = in_utc(end), list[datetime]()
        tick = self.next_after(in_utc(start) - JUST_BEFORE)
        while tick is not None and tick <= end and len(ticks) < limit:
            ticks.append(tick)
            tick = self.next_after(tick)
        return ticks

    def count(self, after: datetime, until: datetime) -> int:
        """How many ticks are later than one moment and not later than the other."""
        after, until = in_utc(after), in_utc(until)
        return self._times().count(after, until) if after < until else 0

    def _times(self) -> _Interval | TimesOfDay | ClockTimes:
        if self.every is not None:
            return _Interval(timedelta(seconds=self.every), in_utc(self.anchor))
        return times_of(self.cron, self.zone)


@dataclass
class Plan:
    """What a schedule does now.

    ticks: those that get a job, in order. next_at: what its row waits for then; that may be due
    too. skipped: how many ticks get none.
    """

    ticks: list[datetime]
    next_at: datetime | None
    skipped: int


def plan(
    rule: Rule,
    next_at: datetime | None,
    now: datetime,
    *,
    catch_up: str = "latest",
    grace: timedelta | float | None = None,
) -> Plan:
    """Which of the ticks from next_at until now get a job, and what comes next.

    "latest": the newest of them. "all": each, 100 at a time. "none": the newest, if it is not later
    than a minute, or than the grace. Whatever it is, a tick that is older than the grace gets none.
    """
    if next_at is None or (next_at := in_utc(next_at)) > (now := in_utc(now)):
        return Plan([], next_at, 0)
    longest = grace if grace is not None else ON_TIME if catch_up == "none" else None
    oldest = next_at if longest is None else now - span_of(longest, "grace")
    if catch_up != "all":
        newest = rule.last_until(now, next_at) or next_at
        ticks = [newest] if newest >= oldest else []
        skipped = 1 + rule.count(next_at, now) - len(ticks)
        return Plan(ticks, rule.next_after(now), skipped)
    skipped = 0
    if next_at < oldest:
        skipped = 1 + rule.count(next_at, oldest - JUST_BEFORE)
        ticks = rule.between(oldest, now, BATCH)
    else:
        ticks = [next_at, *rule.between(next_at + JUST_BEFORE, now, BATCH - 1)]
    return Plan(ticks, rule.next_after(ticks[-1] if ticks else now), skipped)


def jitter_of(schedule_id: object, tick: datetime, jitter: float) -> float:
    """How many seconds after the tick its job is due: 0 <= x < jitter, the same on each host."""
    if not jitter:
        return 0.0
    micros = (in_utc(tick) - EPOCH) // timedelta(microseconds=1)
    digest = hashlib.blake2b(f"{schedule_id}:{micros}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32 * jitter


@dataclass(frozen=True)
class _Interval:
    """At a fixed interval from the anchor on, the anchor included."""

    step: timedelta
    anchor: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        return self.anchor + max(0, self._number(moment) + 1) * self.step

    def last_until(self, moment: datetime) -> datetime | None:
        number = self._number(moment)
        return self.anchor + number * self.step if number >= 0 else None

    def count(self, after: datetime, until: datetime) -> int:
        return max(-1, self._number(until)) - max(-1, self._number(after))

    def _number(self, moment: datetime) -> int:
        """Of the last tick that is not later."""
        return (moment - self.anchor) // self.step


def _span(policy: str, value: Any) -> timedelta:
    try:
        return span_of(value, policy)
    except (TypeError, ValueError) as error:
        raise InvalidSchedule.of("policy_span", policy=policy, value=repr(value)) from error


def _is_path(value: object) -> bool:
    """Whether it may be the dotted path of a function."""
    parts = value.split(".") if isinstance(value, str) else []
    return len(parts) > 1 and all(part.isidentifier() for part in parts)
