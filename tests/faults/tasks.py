"""The tasks of the fault plan. Each says in the effects log that it began and that it ended.

Their result is the number of the claim that ran them: the oracle compares it with the row's.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from django_bgtasks import JobContext, Retry, current_job, task
from tests.app.models import Note

from .effects import VARIABLE, note
from .strikes import strike

AT_ONCE = Retry(max_attempts=5, delays=[0], jitter=0)


def _claim() -> tuple[str, int]:
    context = current_job()
    assert context is not None
    return str(context.job_id), context.job.claims


def _run() -> int:
    job, claim = _claim()
    note("begin", job)
    strike("in body")
    note("end", job)
    return claim


@task(retry=AT_ONCE)
def plain() -> int:
    return _run()


@task(retry=AT_ONCE, atomic=True)
def atomic() -> int:
    """Its effect is a row, committed with its settlement."""
    job, claim = _claim()
    note("begin", job)
    Note.objects.create(text=job)
    strike("in body")
    note("end", job)
    return claim


@task(retry=AT_ONCE, on_crash="fail")
def careful() -> int:
    return _run()


@task(retry=AT_ONCE, takes_context=True)
def paying(context: JobContext) -> int:
    """Calls a provider that honours idempotency keys."""
    job, claim = _claim()
    note("begin", job)
    context.once("charge", note, f"call:{context.step_key('charge')}", job)
    note("end", job)
    return claim


@task(retry=AT_ONCE, takes_context=True)
def paying_at_most_once(context: JobContext) -> int:
    """Calls a provider that knows no keys: an unknown outcome is for a person to decide."""
    job, claim = _claim()
    note("begin", job)
    context.once("charge", note, "only-call", job, mode="at_most_once")
    note("end", job)
    return claim


@task(retry=AT_ONCE)
def wait_at_gate() -> int:
    """Runs until the test opens the gate."""
    job, claim = _claim()
    note("begin", job)
    while not Path(f"{os.environ[VARIABLE]}.gate").exists():
        time.sleep(0.01)
    note("end", job)
    return claim


@task(retry=AT_ONCE)
def nap(seconds: float) -> int:
    """Busy for a while."""
    job, claim = _claim()
    note("begin", job)
    time.sleep(seconds)
    note("end", job)
    return claim


@task(retry=AT_ONCE)
async def wait_async(seconds: float) -> int:
    """Waits, as a coroutine: many of them do so in one process."""
    job, claim = _claim()
    note("begin", job)
    await asyncio.sleep(seconds)
    note("end", job)
    return claim


@task(retry=AT_ONCE)
def ask_and_wait(seconds: float) -> int:
    job, claim = _claim()
    note("begin", job)
    time.sleep(seconds)
    Note.objects.exists()
    note("end", job)
    return claim


@task(retry=AT_ONCE)
async def ask_and_wait_async(seconds: float) -> int:
    job, claim = _claim()
    note("begin", job)
    await Note.objects.aexists()
    await asyncio.sleep(seconds)
    await Note.objects.aexists()
    note("end", job)
    return claim
