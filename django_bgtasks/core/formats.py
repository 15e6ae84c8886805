"""Figures as people read them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from django.utils import formats, timezone
from django.utils.translation import gettext as _

NOTHING = "–"


def duration(seconds: float | None) -> str:
    """A length of time, short: 12 ms, 3.4 s, 5 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{formats.number_format(round(seconds, 1), 1)} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    if hours < 48:
        return f"{hours} h {minutes_left} min" if minutes_left else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def from_now(seconds: float) -> str:
    """When something may be: in 3.4 s, or now."""
    return _("in %s") % duration(seconds) if seconds > 0 else _("now")


def exact(at: datetime) -> str:
    """Date and time with seconds, in the site's time zone and format."""
    # A site with USE_TZ = False stores times without a zone, in its own.
    local = at
    if timezone.is_aware(at):
        # At the ends of the calendar there is no such time in another zone.
        with suppress(OverflowError):
            local = timezone.localtime(at)
    return f"{formats.date_format(local, 'DATE_FORMAT')} {local:%H:%M:%S}"


def number(value: float) -> str:
    """A count with the site's separators; one decimal where it is a fraction."""
    whole = float(value).is_integer() or value >= 100
    return str(formats.number_format(round(value, 0 if whole else 1), 0 if whole else 1, True))


def percent(share: float | None) -> str:
    """A share of 1; below one percent it is not rounded to nothing."""
    if share is None:
        return NOTHING
    if 0 < share < 0.01:
        return "< 1 %"
    return f"{share * 100:.0f} %"
