"""crontab(), as Huey has it, and the schedule that it is here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ...core.errors import InvalidSchedule
from ...core.timing import Cron

# In the order of a cron expression: the name, and the values that there are.
_FIELDS = (
    ("minute", range(60)),
    ("hour", range(24)),
    ("day", range(1, 32)),
    ("month", range(1, 13)),
    ("day_of_week", range(8)),
)
_SPAN = re.compile(r"(\d+)-(\d+)(?:/(\d+))?")
_STEP = re.compile(r"\*/(\d+)")


class HueyCrontab:
    """The times of a periodic task: a number, "*", "*/15", "1-5" or "1,15" for each field.

    day_of_week: 0 is Sunday. "*/15" is every fifteenth value. Called with a time, it says
    whether the task is due in that minute. Raises ValueError for what is none of these.
    """

    def __init__(
        self,
        minute: Any = "*",
        hour: Any = "*",
        day: Any = "*",
        month: Any = "*",
        day_of_week: Any = "*",
        strict: bool = False,
    ) -> None:
        texts = [str(text) for text in (minute, hour, day, month, day_of_week)]
        self.values = [
            {value for piece in text.split(",") for value in _values(piece.strip(), name, within)}
            for text, (name, within) in zip(texts, _FIELDS, strict=True)
        ]

    def __call__(self, moment: datetime) -> bool:
        """Whether a task is due in the minute of this time."""
        parts = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
        return all(part in values for part, values in zip(parts, self.values, strict=True))

    @classmethod
    def hourly(cls, **fields: Any) -> HueyCrontab:
        """At the full hour."""
        return cls(**{"minute": "0", **fields})

    @classmethod
    def daily(cls, **fields: Any) -> HueyCrontab:
        """At midnight."""
        return cls(**{"minute": "0", "hour": "0", **fields})

    @property
    def expression(self) -> str:
        """The same times as a cron expression.

        Raises InvalidSchedule if both days of the month and days of the week are named: cron means
        either of them, and Huey both.
        """
        texts = [
            "*" if values >= _whole(within) else ",".join(map(str, sorted(values)))
            for values, (_name, within) in zip(self.values, _FIELDS, strict=True)
        ]
        if "*" not in (texts[2], texts[4]):
            raise InvalidSchedule(
                "crontab(day=..., day_of_week=...) means days that are both; Cron() means days "
                "that are either. Leave out one, and ask for the other in a predicate: "
                "@task(schedule=Cron(..., when=is_monday)). See docs/moving.md."
            )
        return " ".join(texts)

    def schedule(self, zone: str | None) -> Cron:
        """The schedule. zone: whose time the fields are; None for that of the settings.

        As with Huey, a tick while no worker runs is not made up, and jobs may run side by side.
        """
        return Cron(self.expression, zone=zone, catch_up="none", overlap="allow")


def _whole(within: range) -> set[int]:
    return set(range(7)) if within == range(8) else set(within)


def _values(piece: str, name: str, within: range) -> Iterator[int]:
    """The values that one piece of a field names."""
    found: list[int]
    if piece == "*":
        found = list(within)
    elif piece.isdigit():
        found = [int(piece)]
    elif match := _SPAN.fullmatch(piece):
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if first not in within or last not in within:
            raise ValueError(f"{piece} is not a valid input")
        beyond = [*range(first, within[-1] + 1), *range(within[0], last + 1)]
        if name == "day_of_week":
            beyond = [*range(first, 7), *range(last + 1)]
        found = (list(range(first, last + 1)) if first <= last else beyond)[::step]
    elif match := _STEP.fullmatch(piece):
        if name == "day_of_week":
            raise ValueError("Cannot perform this kind of matching on day-of-week.")
        found = list(within[:: int(match[1])])
    else:
        raise ValueError(f"{piece!r} is not a valid input for {name}")
    if not found or any(value not in within for value in found):
        raise ValueError(f"{piece} is not a valid input")
    yield from (value % 7 if name == "day_of_week" else value for value in found)
