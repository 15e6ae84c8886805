"""Which times and lengths of time a caller may give: all that each database and page can show."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

LONGEST = timedelta(days=36_500)
# A time that is a year from the ends of the calendar is a time in every zone.
YEARS = range(1900, 9999)


def span_of(value: Any, what: str) -> timedelta:
    """A length of time from a timedelta or a number of seconds.

    what: how the error begins. Raises ValueError for what is negative or longer than a century, as
    when milliseconds were given for seconds, and TypeError for what is no length of time.
    """
    if not isinstance(value, timedelta | Real | Decimal):
        raise TypeError(f"{what} is a timedelta or a number of seconds, not {type(value)}.")
    most = LONGEST.total_seconds()
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (OverflowError, ValueError):
        seconds = math.inf
    # Written so that NaN is refused too.
    if not 0 <= seconds <= most:
        raise ValueError(
            f"{what} is 0 to {most:.0f} seconds ({LONGEST.days} days), not {_text_of(value)}."
        )
    return value if isinstance(value, timedelta) else timedelta(seconds=seconds)


def fault_of_time(moment: Any) -> str:
    """Why no job can be due at this time; empty if it can."""
    if isinstance(moment, datetime) and moment.year in YEARS:
        return ""
    return f"is a time between the years {YEARS[0]} and {YEARS[-1]}, not {_text_of(moment)}."


def _text_of(value: Any) -> str:
    try:
        return str(value)[:80]
    except ValueError:
        # Python does not write an integer of many digits.
        return "more than can be written"
