"""The tasks that are measured."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from django_bgtasks import Limit, task
from django_bgtasks.models import Job

Waiting = Any


@task
def note_begin(log: str, seconds: float = 0) -> None:
    """Write when it began, and sleep. time.monotonic() is one clock for all processes of a host."""
    began = time.monotonic()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{began!r}\n".encode())
    os.close(file)
    if seconds:
        time.sleep(seconds)


@task
async def wait_async(seconds: float) -> None:
    """A call to somebody else's API, as a coroutine."""
    await asyncio.sleep(seconds)


@task
def wait_blocking(seconds: float) -> None:
    """The same as a function."""
    time.sleep(seconds)


@task
async def ask_async(seconds: float) -> None:
    """Three queries, and a call to somebody else's API after each but the last."""
    for wait in (seconds, seconds, 0):
        await Job.objects.aexists()
        await asyncio.sleep(wait)


@task
def unlimited(key: str) -> None:
    """Nothing."""


@task(limit=Limit("many:{key}", at_once=5))
def limited(key: str) -> None:
    """Nothing, for at most five of a key at once."""


@task(limit=Limit("one:{key}"))
def one_at_once(key: str) -> None:
    """Nothing, for one of a key at once."""


@task(limit=Limit("turns"))
def note_turn(log: str, seconds: float) -> None:
    """Write when it began, sleep, and write when it ended."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{time.monotonic()!r}\n".encode())
    time.sleep(seconds)
    os.write(file, f"{time.monotonic()!r}\n".encode())
    os.close(file)


@task
def enqueue_next(count: int) -> None:
    """Enqueue the same again, so often: what a site does that has no chains."""
    if count:
        enqueue_next.enqueue(count - 1)
