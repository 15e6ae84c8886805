"""`when=`: a predicate of the site, which is asked in maintenance whether a tick gets a job.

It runs as a task does, in a sandbox that puts back what it leaves behind, and within a few seconds.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from inspect import iscoroutinefunction
from typing import Any
from zoneinfo import ZoneInfo

from asgiref.sync import async_to_sync
from django.conf import settings
from django.utils.module_loading import import_string

from ..core import clock
from ..core.errors import InvalidSchedule, JobTimeout
from ..models import Schedule
from ..sandbox.call import deadline, run_in_sandbox
from ..sandbox.restore import refresh_connections

# How long a predicate may take; one that took longer is not asked again for a while, for all
# schedules wait meanwhile.
SECONDS, NOT_AGAIN = 2.0, 60.0
# By their paths, until when the slow ones are not asked.
_slow: dict[str, float] = {}


def wants(row: Schedule, tick: datetime) -> bool:
    """Whether the predicate of this schedule lets the tick have a job; it gets it in the
    schedule's time zone. Raises what the predicate raises, and JobTimeout.
    """
    path = row.when
    if clock.monotonic() < _slow.get(path, 0.0):
        raise JobTimeout(f"{path} took too long the last time; it is asked again in a minute.")
    moment = tick.astimezone(ZoneInfo(row.zone or settings.TIME_ZONE))
    try:
        return bool(run_in_sandbox(partial(_ask, path, moment), deadline(SECONDS)))
    except JobTimeout:
        _slow[path] = clock.monotonic() + NOT_AGAIN
        raise JobTimeout(f"{path} gave no answer within {SECONDS:g} s.") from None
    finally:
        refresh_connections()


def predicate_at(path: str) -> Any:
    """The predicate at this path. Raises InvalidSchedule if there is none."""
    try:
        found = import_string(path)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise InvalidSchedule(f"when: {path!r} cannot be imported: {why}.") from error
    if not callable(found):
        raise InvalidSchedule(f"when: {path!r} is no function that is called with the tick.")
    return found


def _ask(path: str, tick: datetime) -> Any:
    predicate = predicate_at(path)
    return (async_to_sync(predicate) if iscoroutinefunction(predicate) else predicate)(tick)
