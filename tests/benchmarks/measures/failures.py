"""The kinds of failure of the dashboard, beside very many failed attempts of one day."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django_bgtasks.core import clock
from django_bgtasks.models import Attempt, Job
from django_bgtasks.monitoring.failures import take_failures

from .dashboard import CHUNK, analyze, milliseconds

ATTEMPTS = (1_000, 100_000)
# Of ten attempts so many were the last of a job that is still failed.
STILL_FAILED = 2


def failures(directory: Path) -> dict[str, float]:
    """The groups of 1,000 and of 100,000 attempts; of the latter also for one queue alone."""
    found = {}
    for attempts in ATTEMPTS:
        _fill(attempts)
        analyze()
        figure = f"groups of {attempts:,} attempts, ms"
        found[figure] = milliseconds(lambda: take_failures("default", "default"))
        found[f"{figure}, one of 48 queues"] = milliseconds(
            lambda: take_failures("default", "default", queue="tenant-07")
        )
        for model in (Attempt, Job):
            model._base_manager.all()._raw_delete("default")
    return found


def _fill(count: int) -> None:
    """Attempts of 40 kinds, spread over 24 hours."""
    now = clock.now()
    for first in range(0, count, CHUNK):
        jobs: list[Any] = [_job(n, count, now) for n in range(first, min(count, first + CHUNK))]
        Job.objects.bulk_create(jobs)
        Attempt.objects.bulk_create(
            Attempt(
                job=job, attempt=1, outcome="failed", finished_at=job.finished_at,
                exception_class=f"Error{number % 8}", traceback="…" * 500,
            )
            for number, job in enumerate(jobs)
        )  # fmt: skip


def _job(number: int, count: int, now: Any) -> Job:
    ended = now - timedelta(seconds=86_000 * (1 - number / count))
    is_failed = number % 10 < STILL_FAILED
    return Job(
        task=f"shop.tasks.task_{number % 5}",
        queue=f"tenant-{number % 48:02}",
        state="failed" if is_failed else "succeeded",
        attempt=1 if is_failed else 2,
        enqueued_at=ended - timedelta(seconds=2),
        started_at=ended - timedelta(seconds=1),
        finished_at=ended,
        timeout=60,
        backend="default",
    )
