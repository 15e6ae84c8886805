"""The one door for time, ids and chance, so that tests can turn the clock.

Decisions that hosts must agree on use the database's clock (`Now()`), never this one.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from datetime import UTC, datetime, timedelta

rng = random.SystemRandom()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """This host's idea of the time, aware, in UTC."""
    return datetime.now(UTC)


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
