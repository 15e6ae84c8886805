"""Huey on Redis."""

from __future__ import annotations

import os
import sys

from huey import RedisHuey
from huey.api import group

from . import body

huey = RedisHuey("peers", url=os.environ[body.REDIS])
noop, nap, join, last = (huey.task()(each) for each in (body.noop, body.nap, body.join, body.last))


def command() -> list[str]:
    """The consumer, with two processes instead of threads."""
    consumer = [sys.executable, "-m", "huey.bin.huey_consumer", f"{__name__}.huey"]
    return [*consumer, "--workers", "2", "--worker-type", "process"]


def start_chord(key: str, size: int, seconds: float = 0.0) -> None:
    """Enqueue a group, and a step that gets its results."""
    steps = [nap.s(n, seconds) if seconds else noop.s(n) for n in range(size)]
    huey.enqueue(group(steps).then(join, key))


def start_chain(key: str, size: int) -> None:
    """Enqueue so many steps, one after another."""
    flow = noop.s(0)
    for number in range(1, size - 1):
        flow = flow.then(noop, number)
    huey.enqueue(flow.then(last, key))
