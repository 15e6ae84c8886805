"""The dashboard beside a large table of jobs: the page, its figures, and the adding up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from django_bgtasks.core import clock
from django_bgtasks.models import Attempt, Job, RollUp
from django_bgtasks.monitoring.snapshot import take_snapshot
from django_bgtasks.worker.maintenance import rollups

URL = "/admin/django_bgtasks/dashboard/"
ROWS = {"postgresql": 1_000_000, "sqlite": 100_000}
WEEK = 7 * 24 * 3600.0
CHUNK, RUNS = 5000, 9


def dashboard(directory: Path) -> dict[str, float]:
    """With 100 jobs and with as many as ROWS says, most of them final, spread over a week."""
    rows = ROWS[connection.vendor]
    client = Client()
    client.force_login(
        User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)[0]
    )
    found = {f"{name} of 100 jobs, ms": ms for name, ms in _measured(client, 100).items()}
    start = time.monotonic()
    _fill(rows - 100)
    found["seconds to make the rows"] = time.monotonic() - start
    found |= {f"{name} of {rows:,} jobs, ms": ms for name, ms in _measured(client, rows).items()}
    for model in (Attempt, RollUp, Job):
        model._base_manager.all()._raw_delete("default")
    return found


def _measured(client: Client, rows: int) -> dict[str, float]:
    if rows == 100:
        _fill(100)
    analyze()
    first = milliseconds(lambda: rollups.run_once("default", 60), runs=1)
    return {
        "adding up an hour": first,
        "a run_once with nothing new": milliseconds(lambda: rollups.run_once("default")),
        "figures": milliseconds(lambda: take_snapshot("default")),
        "page, hour": milliseconds(lambda: client.get(URL)),
        "page, week": milliseconds(lambda: client.get(f"{URL}?range=week")),
        "live sections": milliseconds(lambda: client.get(f"{URL}?live=1")),
    }


def milliseconds(call: Callable[[], Any], runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def _fill(count: int) -> None:
    """Jobs of ten tasks in four queues: one in fifty failed, one in a thousand waits."""
    now = clock.now()
    for first in range(0, count, CHUNK):
        chunk = [_job(n, count, now) for n in range(first, min(count, first + CHUNK))]
        Job.objects.bulk_create(chunk)
        failed = [job for job in chunk if job.state == "failed"]
        Attempt.objects.bulk_create(
            Attempt(
                job=job, attempt=1, outcome="failed", finished_at=now,
                exception_class=f"shop.errors.Error{n % 7}", code="exception", traceback="…" * 500,
            )
            for n, job in enumerate(failed)
        )  # fmt: skip


def _job(number: int, count: int, now: Any) -> Job:
    ended = now - timedelta(seconds=WEEK * (1 - number / count))
    state = "queued" if number % 1000 == 0 else "failed" if number % 50 == 0 else "succeeded"
    final = state != "queued"
    return Job(
        task=f"shop.tasks.task_{number % 10}",
        queue=("default", "emails", "reports", "uploads")[number % 4],
        state=state,
        attempt=1 if final else 0,
        args=[number],
        enqueued_at=ended - timedelta(seconds=2),
        started_at=ended - timedelta(seconds=1) if final else None,
        finished_at=ended if final else None,
        error="Error: as asked" if state == "failed" else "",
        error_code="exception" if state == "failed" else "",
        timeout=60,
        backend="default",
    )


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
