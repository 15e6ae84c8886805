"""The one door for time, ids and chance, so that tests can turn the clock.

Decisions that hosts must agree on use the database's clock (`ledger/times.py`), never this one.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils import timezone

rng = random.SystemRandom()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """This host's idea of the time, aware, in UTC."""
    return datetime.now(UTC)


def now_as_stored() -> datetime:
    """now(), as the fields of a model have it: without USE_TZ it is naive, in TIME_ZONE."""
    return now() if settings.USE_TZ else timezone.make_naive(now(), timezone.get_default_timezone())


def between(start: datetime, end: datetime) -> timedelta:
    """The time from one moment to another, whatever zone each is in; a naive one is the site's."""
    return in_utc(end) - in_utc(start)


def in_utc(moment: datetime) -> datetime:
    """The moment, aware, in UTC; a naive one is of the site's time zone."""
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.astimezone(UTC)


def monotonic() -> float:
    """Seconds that never go back, comparable between the processes of this host."""
    return time.monotonic()


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562, section 5.7): ids sort by the time they were made.

    The 12 bits after the millisecond hold its fraction (method 3 of section 6.2), so that
    ids of one process made in one millisecond keep their order.
    """
    ns = time.time_ns()
    millis, rest = divmod(ns, 1_000_000)
    value = millis << 80 | 7 << 76 | (rest * 4096 // 1_000_000) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8)) >> 2
    return uuid.UUID(int=value)


def id_floor(moment: datetime) -> uuid.UUID:
    """The smallest id that could have been made at `moment`; below all of them before 1970."""
    millis = max(0, (moment - EPOCH) // timedelta(milliseconds=1))
    return uuid.UUID(int=millis << 80 | 7 << 76 | 0b10 << 62)
