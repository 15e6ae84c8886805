"""Celery with Redis as broker and for results."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery, chain, chord

from . import body
from .systems import VARIABLE

# How a project that must not lose tasks sets it up; the visibility timeout stays at its hour.
LATE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
}
SHORT = {
    **LATE,
    "broker_transport_options": {
        "visibility_timeout": 15,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    },
}
OPTIONS: dict[str, dict[str, Any]] = {"celery": {}, "celery_late": LATE, "celery_short": SHORT}

app = Celery("peers", broker=os.environ[body.REDIS], backend=os.environ[body.REDIS])
app.conf.update(broker_connection_retry_on_startup=True, **OPTIONS[os.environ[VARIABLE]])
noop = app.task(body.noop, name="noop")
nap = app.task(body.nap, name="nap")
last = app.task(body.last, name="last")


def _join(results: list[int], key: str) -> None:
    """The results come first."""
    body.join(key, results)


join = app.task(_join, name="join")


def command() -> list[str]:
    """The worker: prefork, two processes."""
    return [sys.executable, "-m", "celery", "-A", __name__, "worker", "--concurrency", "2"]


def start_chord(key: str, size: int, seconds: float = 0.0) -> None:
    """Enqueue a group, and a step that gets its results."""
    chord(nap.si(n, seconds) if seconds else noop.si(n) for n in range(size))(join.s(key))


def start_chain(key: str, size: int) -> None:
    """Enqueue so many steps, one after another."""
    chain(*(noop.si(n) for n in range(size - 1)), last.si(key)).apply_async()
