"""What modules take from `celery.schedules`: times of Celery's kind, and ours for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from ...core.errors import InvalidSchedule
from ...core.timing import Cron, Every, Timing
from .conf import configured
from .errors import SEE

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
PART = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?")
Field = str | int | Iterable[int]


class CelerySchedule:
    """Every so many seconds. run_every: seconds, or a timedelta."""

    def __init__(self, run_every: float | timedelta | None = None, **kwargs: Any) -> None:
        if isinstance(run_every, int | float):
            run_every = timedelta(seconds=run_every)
        self.run_every = run_every
        self.relative = bool(kwargs.get("relative"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CelerySchedule) and other.run_every == self.run_every

    def __hash__(self) -> int:
        return hash(self.run_every)

    def __repr__(self) -> str:
        return f"<freq: {self.run_every}>"

    def timing(self, **policies: Any) -> Timing:
        """Our times for it. Raises InvalidSchedule."""
        return Every(self.run_every, **policies)


class CeleryCrontab:
    """At the times of a clock and a calendar; fields as Celery takes them.

    Raises ValueError for a field that is none.
    """

    def __init__(
        self,
        minute: Field = "*",
        hour: Field = "*",
        day_of_week: Field = "*",
        day_of_month: Field = "*",
        month_of_year: Field = "*",
        **kwargs: Any,
    ) -> None:
        self._orig_minute, self._orig_hour = _text(minute), _text(hour)
        self._orig_day_of_week = _text(day_of_week)
        self._orig_day_of_month, self._orig_month_of_year = (
            _text(day_of_month),
            _text(month_of_year),
        )
        self.minute = expand(minute, 0, 59)
        self.hour = expand(hour, 0, 23)
        self.day_of_week = expand(day_of_week, 0, 6)
        self.day_of_month = expand(day_of_month, 1, 31)
        self.month_of_year = expand(month_of_year, 1, 12)
        self.zone: Any = kwargs.get("tz")

    @classmethod
    def from_string(cls, crontab: str) -> CeleryCrontab:
        """Of the five fields of a cron expression."""
        minute, hour, day_of_month, month_of_year, day_of_week = crontab.split()
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def _fields(self) -> tuple[set[int], ...]:
        return (
            *(self.minute, self.hour, self.day_of_week, self.day_of_month),
            self.month_of_year,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CeleryCrontab) and other._fields() == self._fields()

    def __hash__(self) -> int:
        return hash(tuple(map(frozenset, self._fields())))

    def __repr__(self) -> str:
        fields = (
            *(self._orig_minute, self._orig_hour, self._orig_day_of_month),
            *(self._orig_month_of_year, self._orig_day_of_week),
        )
        return f"<crontab: {' '.join(fields)} (m/h/dM/MY/d)>"

    @property
    def expression(self) -> str:
        """The cron expression.

        Raises InvalidSchedule where it names days of the week and of the month: Celery takes days
        that are both, and cron those that are either.
        """
        if len(self.day_of_week) < 7 and len(self.day_of_month) < 31:
            raise InvalidSchedule(
                f"{self!r} names days of the week and of the month. Celery takes days that are "
                f"both; cron takes those that are either. Name one of them, and ask for the other "
                f"with a schedule of the task itself: Cron(…, when=…). {SEE}"
            )
        fields = (
            (self._orig_minute, self.minute, 60),
            (self._orig_hour, self.hour, 24),
            (self._orig_day_of_month, self.day_of_month, 31),
            (self._orig_month_of_year, self.month_of_year, 12),
            (self._orig_day_of_week, self.day_of_week, 7),
        )
        return " ".join(_cron_field(*field) for field in fields)

    def timing(self, **policies: Any) -> Timing:
        """Our times for it, in CELERY_TIMEZONE, or else UTC, as Celery has it."""
        zone = self.zone or configured("timezone") or "UTC"
        return Cron(self.expression, zone=str(zone), **policies)


def expand(field: Field, low: int, high: int) -> set[int]:
    """The numbers for which a field stands. Raises ValueError."""
    if isinstance(field, int):
        numbers = {field}
    elif isinstance(field, str):
        numbers = {number for part in field.split(",") for number in _part(part.strip(), low, high)}
    else:
        numbers = set(field)
    if wrong := sorted(number for number in numbers if not low <= number <= high):
        raise ValueError(f"A field of a crontab is {low} to {high}, not {wrong[0]}.")
    return numbers


def _part(part: str, low: int, high: int) -> list[int]:
    found = PART.fullmatch(part)
    if found is None:
        raise ValueError(f"A field of a crontab cannot be {part!r}.")
    star, first, last, step = found.groups()
    if star:
        numbers = list(range(low, high + 1))
    else:
        start, end = _number(first), _number(last or first)
        if not last and step:
            raise ValueError(f"A field of a crontab cannot be {part!r}.")
        wraps = list(range(start, high + 1)) + list(range(low, end + 1))
        numbers = wraps if end < start else list(range(start, end + 1))
    return numbers[:: int(step or 1)]


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    name = text.lower()[:3]
    if name in DAYS:
        return DAYS.index(name)
    if name in MONTHS:
        return MONTHS.index(name) + 1
    raise ValueError(f"A field of a crontab cannot be {text!r}.")


def _cron_field(text: str, numbers: set[int], size: int) -> str:
    if text.startswith("*") and "," not in text:
        # What begins with a star follows the clock where that is put forward or back.
        return text
    if len(numbers) == size:
        return "*"
    return ",".join(map(str, sorted(numbers)))


def _text(field: Field) -> str:
    return str(field) if isinstance(field, str | int) else ",".join(map(str, field))


class CelerySolar:
    """Refused: there are no times by the sun."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise InvalidSchedule(
            f"There are no times by the sun. Ask for them with Every(minutes=1, when=…). {SEE}"
        )


def beat_timing(schedule: Any, **policies: Any) -> Timing:
    """Our times for what a beat schedule may have: seconds, a timedelta, a crontab or a schedule.

    Raises InvalidSchedule for anything else.
    """
    if isinstance(schedule, int | float | timedelta):
        schedule = CelerySchedule(schedule)
    if isinstance(schedule, Cron | Every):
        return schedule
    if not hasattr(schedule, "timing"):
        schedule = _of_celery(schedule)
    timing: Timing = schedule.timing(**policies)
    return timing


def _of_celery(schedule: Any) -> Any:
    """A schedule of Celery's own class, as settings have it that are not moved yet."""
    names = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
    if all(hasattr(schedule, f"_orig_{name}") for name in names):
        return CeleryCrontab(**{name: getattr(schedule, f"_orig_{name}") for name in names})
    if isinstance(getattr(schedule, "run_every", None), timedelta):
        return CelerySchedule(schedule.run_every)
    raise InvalidSchedule(f"{schedule!r} is no crontab, timedelta or number of seconds. {SEE}")


crontab = CeleryCrontab
schedule = CelerySchedule
solar = CelerySolar
