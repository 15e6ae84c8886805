"""The tasks that are measured."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from django_bgtasks import task
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
