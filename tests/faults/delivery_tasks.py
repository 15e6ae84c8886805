"""Tasks of the cases about delivery and time, and about keys."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django_bgtasks import JobContext, Retry, RetryLater, once, task
from django_bgtasks.core import clock
from tests.app.models import Note

from .effects import VARIABLE, EffectsLog, note
from .tasks import AT_ONCE, plain

IN_A_SECOND = Retry(max_attempts=3, delays=[1.0], jitter=0)


def _as(other: Any, *args: Any) -> int:
    """Do what another task does."""
    claim: int = other.func(*args)
    return claim


@task
def tell_time() -> str:
    """What its process takes for the time."""
    return clock.now().isoformat()


@task(retry=IN_A_SECOND, takes_context=True)
def fails_at_first(context: JobContext) -> int:
    """Runs again a second later."""
    note("begin", str(context.job_id))
    if context.attempt == 1:
        raise ValueError("not yet")
    return context.job.claims


@task(takes_context=True)
def asks_for_later(context: JobContext) -> int:
    """Asks for another time itself, when it runs first."""
    # Not by the claim: one that waited behind a slow job was handed back.
    before = EffectsLog(Path(os.environ[VARIABLE])).of("begin", str(context.job_id))
    note("begin", str(context.job_id))
    if not before:
        raise RetryLater(1)
    return context.job.claims


@task(timeout=2)
def hangs() -> None:
    """Goes on for ever, and catches nothing."""
    while True:
        time.sleep(0.01)


@task(dedup_key="{key}", retry=AT_ONCE)
def keyed(key: str) -> int:
    return _as(plain)


@task(dedup_key="{key}", on_crash="fail")
def keyed_and_careful(key: str) -> int:
    return _as(plain)


@task(dedup_key="{key}", dedup_scope="queued", retry=AT_ONCE)
def keyed_until_it_starts(key: str) -> int:
    return _as(plain)


@task(dedup_key="{key}", dedup_scope="queued", retry=Retry(max_attempts=2, delays=[60]))
def keyed_and_failing(key: str, text: str = "") -> str:
    """Fails unless it is given a text."""
    if not text:
        raise ValueError("there is no text")
    return text


@task(dedup_key="{key}", dedup_scope=timedelta(seconds=0.5), retry=AT_ONCE)
def keyed_for_a_moment(key: str) -> int:
    return _as(plain)


@task(dedup_key="{key}", dedup_scope=timedelta(hours=1), retry=AT_ONCE)
def keyed_for_an_hour(key: str) -> int:
    return _as(plain)


@task(takes_context=True, retry=AT_ONCE)
def shares_an_effect(context: JobContext, key: str) -> str:
    """One of many jobs with one idempotency key."""
    value: str = once(f"shared:{key}", effect, key)
    return value


@task(on_crash="fail")
def dies_in_an_effect(key: str) -> Any:
    """Its effect does not end before the test opens the gate."""
    return once(f"shared:{key}", gated_effect, key)


def effect(key: str, text: str = "value") -> str:
    """An effect outside of the database that takes its time."""
    note("effect", key)
    time.sleep(0.05)
    return f"{text} of {key}"


def gated_effect(key: str) -> str:
    note("effect", key)
    while not Path(f"{os.environ[VARIABLE]}.gate").exists():
        time.sleep(0.01)
    return f"value of {key}"


def write(text: str) -> int:
    """An effect in the database."""
    return Note.objects.create(text=text).pk
