"""When a schedule is due next: as people read it, in its zone and in theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from cronsim import CronSimError
from django.utils import timezone
from django.utils.formats import date_format

from ..core import clock
from ..core.cron import zone_of
from ..core.cron_text import explain
from ..core.errors import InvalidSchedule
from ..core.timing import Rule
from ..models import Schedule
from . import formatting as show

NEXT_TICKS = 5
# Of a row that another version has written, or a host with other time zones.
UNREADABLE = (InvalidSchedule, CronSimError)


@dataclass(frozen=True, slots=True)
class NextTick:
    """One time: in the zone of the schedule, and in that of who looks; the same text if equal."""

    at: datetime
    there: str
    here: str

    @property
    def relative(self) -> str:
        """In how long it is, or how long ago it was."""
        return show.relative_time(self.at)


@dataclass(frozen=True, slots=True)
class NextTicks:
    """The next times of a schedule, with the names of both zones."""

    zone: str
    own_zone: str
    ticks: list[NextTick]

    @property
    def has_two_zones(self) -> bool:
        """Whether the times differ between the two zones."""
        return any(tick.there != tick.here for tick in self.ticks)


def next_ticks(rule: Rule, start: datetime | None, count: int = NEXT_TICKS) -> NextTicks:
    """The times after `start`; that itself is one if it is a time of the rule."""
    own = timezone.get_current_timezone()
    zone = zone_of(rule.zone) if rule.zone else own
    found, moment = list[NextTick](), start
    while moment is not None and len(found) < count:
        found.append(NextTick(moment, in_zone(moment, zone), in_zone(moment, own)))
        moment = rule.next_after(moment)
    return NextTicks(rule.zone, timezone.get_current_timezone_name(), found)


def ticks_of(row: Schedule, count: int = NEXT_TICKS) -> NextTicks:
    """The next times of this row; of a paused one those that it would have if it went on now.

    There are none if this host cannot read its rule.
    """
    rule, start = Rule.of(row), row.next_at and clock.in_utc(row.next_at)
    try:
        if row.paused_at is not None:
            start = rule.next_after(clock.now())
        return next_ticks(rule, start, count)
    except UNREADABLE:
        return NextTicks(row.zone, "", [])


def words_of(row: Schedule) -> str:
    """The rule in words; as it is stored where this version cannot read it."""
    try:
        return explain(row.cron or row.every or 0.0, row.zone)
    except UNREADABLE:
        return row.cron


def in_zone(moment: datetime, zone: tzinfo) -> str:
    """Day of the week, date and time; with the zone's name, for an hour may come twice."""
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        local = moment
    seconds = "" if not (local.second or local.microsecond) else f":{local:%S}"
    date = date_format(local, "DATE_FORMAT")
    return f"{date_format(local, 'D')} {date} {local:%H:%M}{seconds} {local:%Z}"


def tick_in_zone(row: Schedule, tick: Any) -> str:
    """A tick as the clock of the schedule shows it; as the reader's does if that is not known."""
    try:
        zone = zone_of(row.zone) if row.zone else timezone.get_current_timezone()
    except InvalidSchedule:
        zone = timezone.get_current_timezone()
    return in_zone(clock.in_utc(tick), zone)
