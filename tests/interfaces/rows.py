"""Rows as the ledger and the workers leave them, for the pages that show them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_bgtasks.core import clock
from django_bgtasks.core.states import FINAL, State, WaitsFor
from django_bgtasks.models import (
    Attempt,
    EffectState,
    IdempotencyRecord,
    Job,
    Schedule,
    Worker,
)


def make_job(state: str = State.QUEUED, **fields: Any) -> Job:
    """Enqueued 5 minutes ago; what has started ran for 3 seconds."""
    now = clock.now()
    defaults: dict[str, Any] = {
        "task": "shop.tasks.send",
        "queue": "default",
        "enqueued_at": now - timedelta(minutes=5),
        "started_at": now - timedelta(seconds=3) if state in (State.RUNNING, *FINAL) else None,
        "finished_at": now if state in FINAL else None,
        "timeout": 60,
        "max_attempts": 3,
        "backend": "default",
    }
    if state == State.BLOCKED:
        defaults |= {"waits_for": WaitsFor.LANE, "lane": "stripe:42", "lane_mode": "wait"}
    return Job.objects.create(state=state, **{**defaults, **fields})


def make_attempt(job: Job, **fields: Any) -> Attempt:
    """The first attempt, which failed."""
    defaults: dict[str, Any] = {"attempt": 1, "outcome": "failed", "finished_at": clock.now()}
    return Attempt.objects.create(job=job, **{**defaults, **fields})


def make_record(state: str = EffectState.DONE, **fields: Any) -> IdempotencyRecord:
    """A key that is remembered for another hour."""
    now = clock.now()
    defaults: dict[str, Any] = {
        "key": "charge:7",
        "token": clock.new_id(),
        "created_at": now,
        "expires_at": now + timedelta(hours=1, seconds=5),
    }
    return IdempotencyRecord.objects.create(state=state, **{**defaults, **fields})


def make_worker(**fields: Any) -> Worker:
    """A worker that has just been heard of."""
    now = clock.now()
    defaults: dict[str, Any] = {
        "id": clock.new_id(),
        "hostname": "db1",
        "pid": 42,
        "processes": 2,
        "queues": ["default"],
        "backend": "default",
        "started_at": now,
        "last_seen_at": now,
    }
    return Worker.objects.create(**{**defaults, **fields})


def make_schedule(**fields: Any) -> Schedule:
    """One that somebody has made: every hour, the next time in half an hour."""
    now = clock.now()
    defaults: dict[str, Any] = {
        "name": "digest",
        "backend": "default",
        "task": "tests.app.tasks.add",
        "args": [1, 2],
        "every": 3600.0,
        "anchor": now - timedelta(minutes=30),
        "next_at": now + timedelta(minutes=30),
    }
    return Schedule.objects.create(**{**defaults, **fields})


def make_cron_schedule(**fields: Any) -> Schedule:
    """Each hour on the hour in Berlin, if the fields do not say otherwise."""
    cron = "" if "every" in fields else "0 * * * *"
    defaults = {"name": "hourly", "cron": cron, "every": None, "zone": "Europe/Berlin"}
    return make_schedule(**{**defaults, **fields})
