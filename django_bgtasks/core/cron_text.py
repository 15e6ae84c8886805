"""The times of a schedule in words, in the language of who reads them."""

from __future__ import annotations

from datetime import date

from cronsim import CronSim, CronSimError
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.formats import date_format, number_format
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .cron import SOME_DAY, fields_of

# More than so many times, days or months in a row are no help to a reader.
FEW = 4
A_LEAP_YEAR = 2000
ALL_WEEK, FROM_MONDAY = set(range(7)), set(range(1, 8))


def explain(times: str | float, zone: str = "") -> str:
    """What a cron expression, or an interval in seconds, says: "At 06:00, Monday to Friday".

    zone: is named behind it. An expression that would need many words is shown as it is.
    """
    if isinstance(times, str):
        text = _words(times) or times
        return f"{text} ({zone})" if zone else text
    return _interval(times)


def _interval(seconds: float) -> str:
    for length, unit in ((604_800, _weeks), (86_400, _days), (3_600, _hours), (60, _minutes)):
        if seconds % length == 0:
            return unit(int(seconds // length))
    return _seconds(seconds)


def _weeks(count: int) -> str:
    return _("Every week") if count == 1 else _("Every %(count)s weeks") % {"count": count}


def _days(count: int) -> str:
    return _("Every day") if count == 1 else _("Every %(count)s days") % {"count": count}


def _hours(count: int) -> str:
    return _("Every hour") if count == 1 else _("Every %(count)s hours") % {"count": count}


def _minutes(count: int) -> str:
    return _("Every minute") if count == 1 else _("Every %(count)s minutes") % {"count": count}


def _seconds(count: float) -> str:
    number = number_format(int(count) if count == int(count) else count)
    return _("Every second") if count == 1 else _("Every %(count)s seconds") % {"count": number}


def _words(expression: str) -> str:
    """Empty for what would be long, or cannot be read."""
    try:
        read = CronSim(" ".join(fields_of(expression)), SOME_DAY)
    except CronSimError:
        return ""
    time, day = _time(read), _day(read)
    if not time or day is None:
        return ""
    if not day and not time[1]:
        day = [_("every day")]
    return ", ".join([time[0], *day])


def _time(read: CronSim) -> tuple[str, bool] | None:
    """The times of a day in words, and whether they go on around the clock. None: too many."""
    seconds, minutes, hours = (sorted(part) for part in (read.seconds, read.minutes, read.hours))
    if len(seconds) == 1 and len(minutes) * len(hours) <= FEW:
        style = "{:02}:{:02}" if seconds == [0] else "{:02}:{:02}:{:02}"
        texts = [style.format(hour, minute, seconds[0]) for hour in hours for minute in minutes]
        return _("At %(times)s") % {"times": _list(texts)}, False
    if seconds != [0]:
        step = _step(seconds, 60) if len(hours) == 24 and len(minutes) == 60 else 0
        return (_seconds(step), True) if step else None
    every, step = _of_each_hour(minutes), _step(hours, 24)
    if every and step == 1:
        return every, True
    if step and len(minutes) == 1:
        at_minute = [] if minutes == [0] else [_at_minutes(minutes)]
        return ", ".join([_hours(step), *at_minute]), True
    if not every or not _is_range(hours):
        return None
    span = _span(f"{hours[0]:02}:{minutes[0]:02}", f"{hours[-1]:02}:{minutes[-1]:02}")
    return f"{every}, {span}", False


def _of_each_hour(minutes: list[int]) -> str:
    if minutes == [0]:
        return _hours(1)
    if step := _step(minutes, 60):
        return _minutes(step)
    if len(minutes) > FEW:
        return ""
    return f"{_hours(1)}, {_at_minutes(minutes)}"


def _at_minutes(minutes: list[int]) -> str:
    """The minute of an hour, or several."""
    text = ngettext("at minute %(minutes)s", "at minutes %(minutes)s", len(minutes))
    return text % {"minutes": _list([str(minute) for minute in minutes])}


def _day(read: CronSim) -> list[str] | None:
    """The days and months in words, none if it is each day. None: too many."""
    days, months, weekdays = read.days, sorted(read.months), read.weekdays
    each_day, each_weekday = len(days) == 31, weekdays >= ALL_WEEK or weekdays >= FROM_MONDAY
    if not read.day_and and (each_day or each_weekday):
        # One of the two is enough.
        each_day = each_weekday = True
    of_month = "" if each_day else _days_of_month(days)
    of_week = "" if each_weekday else _days_of_week(weekdays)
    of_year = "" if len(months) == 12 else _months(months)
    if of_month is None or of_week is None or of_year is None:
        return None
    if of_month and of_week:
        if read.day_and:
            return None
        of_week = _("or %(days)s") % {"days": of_week}
    if len(days) == len(months) == 1 and not of_week and (day := min(days)) > 0:
        # A day that a month has not would not have been accepted.
        return [date_format(date(A_LEAP_YEAR, months[0], day), "MONTH_DAY_FORMAT")]
    return [text for text in (of_month, of_week, of_year) if text]


def _days_of_month(days: set[int]) -> str | None:
    if days == {CronSim.LAST}:
        return _("on the last day of the month")
    if days == {CronSim.LAST_WEEKDAY}:
        return _("on the last weekday (Monday to Friday) of the month")
    numbers = sorted(days)
    if numbers[0] < 0:
        return None
    texts = [str(day) for day in numbers]
    if len(numbers) > 2 and _is_range(numbers):
        text = _span(texts[0], texts[-1])
    elif len(numbers) <= FEW:
        text = _list(texts)
    else:
        return None
    return ngettext(
        "on day %(days)s of the month", "on days %(days)s of the month", len(numbers)
    ) % {"days": text}


def _days_of_week(weekdays: set[int | tuple[int, int]]) -> str | None:
    plain = sorted({(day - 1) % 7 for day in weekdays if isinstance(day, int)})
    if len(plain) < len(weekdays) - (weekdays >= {0, 7}):
        return _nth(*weekdays) if len(weekdays) == 1 else None
    names = [str(WEEKDAYS[day]) for day in plain]
    if len(plain) > 2 and _is_range(plain):
        return _span(names[0], names[-1])
    return _list(names) if len(names) <= FEW else None


def _nth(day: int | tuple[int, int]) -> str | None:
    """One weekday of a month. None: it is not of that kind."""
    if isinstance(day, int):
        return None
    weekday, number = day
    texts = {
        1: _("on the first %(day)s of the month"),
        2: _("on the second %(day)s of the month"),
        3: _("on the third %(day)s of the month"),
        4: _("on the fourth %(day)s of the month"),
        5: _("on the fifth %(day)s of the month"),
        CronSim.LAST: _("on the last %(day)s of the month"),
    }
    return texts[number] % {"day": WEEKDAYS[(weekday - 1) % 7]}


def _months(months: list[int]) -> str | None:
    names = [str(MONTHS[month]) for month in months]
    if len(months) > 2 and _is_range(months):
        return _span(names[0], names[-1])
    return _("in %(months)s") % {"months": _list(names)} if len(names) <= FEW else None


def _span(first: str, last: str) -> str:
    return _("%(first)s to %(last)s") % {"first": first, "last": last}


def _list(texts: list[str]) -> str:
    return get_text_list(texts, _("and"))


def _step(values: list[int], end: int) -> int:
    """The n of */n, if these are its values and each step is as long; otherwise 0."""
    step = end // len(values)
    return step if values == list(range(0, end, step)) and end % step == 0 else 0


def _is_range(values: list[int]) -> bool:
    return values == list(range(values[0], values[-1] + 1))
