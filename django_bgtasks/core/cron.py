"""The times of a cron expression in a time zone, read as Debian's cron reads it.

cronsim reads the expression, and is asked for times of a wall clock that is never put; what a
change of the clocks does to these is decided here:

An expression whose minute or hour begins with a star counts what the clock shows: an hour that
comes twice has its ticks twice, a missing one has none. Any other names times of a day: each comes
once, at its first appearance, and one that is missing comes when the clock has jumped over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from .errors import InvalidSchedule

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
SOME_ZONES = ("Europe/Berlin", "UTC")
# The length of the column.
EXPRESSION_LENGTH = 255
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
JUST_BEFORE = timedelta(microseconds=1)
# Where the search for a first time begins: any day does.
SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001


def fields_of(expression: str) -> list[str]:
    """The five or six fields of an expression, which may be a name."""
    return NAMES.get(expression.lower(), expression).split()


def check_cron(expression: Any) -> str:
    """The expression with single spaces.

    Raises InvalidSchedule for one that cannot be read, or never comes.
    """
    text = " ".join(expression.split()) if isinstance(expression, str) else ""
    parts = fields_of(text)
    if not 5 <= len(parts) <= 6 or len(text) > EXPRESSION_LENGTH:
        raise InvalidSchedule.of(
            "cron_fields", expression=repr(expression)[:EXPRESSION_LENGTH], names=", ".join(NAMES)
        )
    for place, part in enumerate(parts, 6 - len(parts)):
        alone = ["*"] * 6
        alone[place] = part
        try:
            CronSim(" ".join(alone), SOME_DAY)
        except CronSimError as error:
            raise _bad_field(place, repr(part), repr(text)) from error
    try:
        next(CronSim(" ".join(parts), SOME_DAY))
    except (CronSimError, StopIteration) as error:
        raise InvalidSchedule.of("cron_never", expression=repr(text)) from error
    return text


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name. Raises InvalidSchedule, with the names that are nearest."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError) as error:
        near = ", ".join(_near(str(name)) or SOME_ZONES)
        raise InvalidSchedule.of("zone_unknown", zone=repr(name), near=near) from error


def times_of(expression: str, zone: str) -> TimesOfDay | ClockTimes:
    """The times of a checked expression."""
    parts = fields_of(expression)
    minute, hour = parts[-5:-3]
    kind = ClockTimes if "*" in (minute[0], hour[0]) else TimesOfDay
    return kind(" ".join(parts), zone_of(zone))


@dataclass(frozen=True)
class _Times:
    """An expression, and the wall clock of a zone. Times of the clock (`wall`) are naive."""

    expression: str
    zone: ZoneInfo

    def later(self, wall: datetime) -> Iterator[datetime]:
        """The times that fit and are later."""
        return CronSim(self.expression, wall)

    def earlier(self, wall: datetime) -> Iterator[datetime]:
        """The times that fit and are not later, the last one first."""
        return CronSim(self.expression, wall.replace(microsecond=0) + SECOND, reverse=True)

    def local(self, moment: datetime) -> datetime:
        """What the clock shows."""
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def offset(self, moment: datetime) -> timedelta:
        """How far the clock is from UTC."""
        return moment.astimezone(self.zone).utcoffset() or timedelta()

    def changes(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """When the clock is put, later than one moment and not later than the other."""
        while after < until:
            end = min(after + DAY, until)
            before = self.offset(after)
            if self.offset(end) != before:
                low, high = after, end
                while high - low > JUST_BEFORE:
                    middle = low + (high - low) / 2
                    low, high = (middle, high) if self.offset(middle) == before else (low, middle)
                yield high
            after = end

    def fitting(self, after: datetime, until: datetime) -> int:
        """How many times of the wall fit, later than one and not later than the other."""
        if after >= until:
            return 0
        read = CronSim(self.expression, after)
        total = _fitting_until(read, until) - _fitting_until(read, after)
        if until.date() > after.date():
            a_day = len(read.hours) * len(read.minutes) * len(read.seconds)
            day = after.date()
            while day < until.date():
                total += a_day if _fits(read, day) else 0
                day += DAY
        return total


class ClockTimes(_Times):
    """What the clock shows counts, as often as it shows it."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick later than the moment."""
        origin, wall = moment, self.local(moment)
        for _ in range(1000):
            fit = next(self.later(wall), None)
            if fit is None:
                return None
            tick = (fit - self.offset(origin)).replace(tzinfo=UTC)
            change = next(self.changes(origin, tick), None)
            if change is None:
                return tick
            origin, wall = change, self.local(change) - SECOND
        return None

    def last_until(self, moment: datetime) -> datetime | None:
        """The last tick not later than the moment."""
        for _ in range(1000):
            fit = next(self.earlier(self.local(moment)), None)
            if fit is None:
                return None
            tick = (fit - self.offset(moment)).replace(tzinfo=UTC)
            changes = list(self.changes(tick, moment))
            if not changes:
                return tick
            moment = changes[-1] - JUST_BEFORE
        return None

    def count(self, after: datetime, until: datetime) -> int:
        """How many ticks are later than one moment and not later than the other."""
        total, wall = 0, self.local(after)
        for change in self.changes(after, until):
            total += self.fitting(wall, self.local(change - JUST_BEFORE))
            wall = self.local(change) - JUST_BEFORE
        return total + self.fitting(wall, self.local(until))


class TimesOfDay(_Times):
    """Each time of the wall comes once."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick later than the moment."""
        # Several times may be missing, which all come with the change.
        ticks = (self.first(wall) for wall in self.later(self.reached(moment)))
        return next((tick for tick in ticks if tick > moment), None)

    def last_until(self, moment: datetime) -> datetime | None:
        """The last tick not later than the moment."""
        wall = next(self.earlier(self.reached(moment)), None)
        return None if wall is None else self.first(wall)

    def count(self, after: datetime, until: datetime) -> int:
        """How many ticks are later than one moment and not later than the other."""
        total, reached = 0, self.reached(after)
        for change in self.changes(after, until):
            ahead = self.reached(change - JUST_BEFORE)
            total += self.fitting(reached, ahead)
            reached = max(ahead, self.local(change))
            total += bool(self.fitting(ahead, reached))
        return total + self.fitting(reached, self.reached(until))

    def reached(self, moment: datetime) -> datetime:
        """The latest time that the clock has shown: it has been put back in a repeated hour."""
        local = moment.astimezone(self.zone)
        if not local.fold:
            return local.replace(tzinfo=None)
        *_, change = self.changes(moment - DAY, moment)
        return self.local(change - JUST_BEFORE)

    def first(self, wall: datetime) -> datetime:
        """When the clock shows it first, or jumps over it."""
        late, early = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if late <= early:
            return late
        # It is missing: zoneinfo takes it by the clock before the change, and by the one after it.
        return next(self.changes(early, late), late)


def _fits(read: CronSim, day: date) -> bool:
    return day.month in read.months and read.match_day(day)


def _fitting_until(read: CronSim, wall: datetime) -> int:
    """How many times of its day fit and are not later."""
    if not _fits(read, wall.date()):
        return 0
    seconds = sum(second <= wall.second for second in read.seconds)
    minutes = sum(minute < wall.minute for minute in read.minutes) * len(read.seconds)
    minutes += seconds if wall.minute in read.minutes else 0
    hours = sum(hour < wall.hour for hour in read.hours) * len(read.minutes) * len(read.seconds)
    return hours + (minutes if wall.hour in read.hours else 0)


def _bad_field(place: int, part: str, expression: str) -> InvalidSchedule:
    return (
        InvalidSchedule.of("cron_second", part=part, expression=expression),
        InvalidSchedule.of("cron_minute", part=part, expression=expression),
        InvalidSchedule.of("cron_hour", part=part, expression=expression),
        InvalidSchedule.of("cron_day", part=part, expression=expression),
        InvalidSchedule.of("cron_month", part=part, expression=expression),
        InvalidSchedule.of("cron_weekday", part=part, expression=expression),
    )[place]


def _near(name: str) -> list[str]:
    """Names of time zones that are like this one, or have such a city."""
    known = {zone.lower(): zone for zone in sorted(available_timezones())}
    cities = {zone.rpartition("/")[2]: zone for zone in known}
    text = name.strip().replace(" ", "_").lower()
    near = get_close_matches(text, known, 3, 0.75)
    near += [cities[city] for city in get_close_matches(text, cities, 3, 0.75)]
    return list(dict.fromkeys(known[zone] for zone in near))
