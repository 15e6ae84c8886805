"""Tasks of the cases about the database, without a retry policy: their exception is their end."""

from __future__ import annotations

import os
import time
from pathlib import Path

from django.db import connection, transaction

from django_bgtasks import Retry, current_job, task
from tests.app.models import Note

from .effects import VARIABLE, EffectsLog, note
from .strikes import strike


def _claim() -> tuple[str, int]:
    context = current_job()
    assert context is not None
    return str(context.job_id), context.job.claims


@task
def plain() -> int:
    """Asks the database nothing."""
    job, claim = _claim()
    note("begin", job)
    strike("in body")
    note("end", job)
    return claim


@task(atomic=True)
def atomic(seconds: float = 0.0) -> int:
    """Its effect is a row. So long it holds its transaction idle, the first time it runs."""
    job, claim = _claim()
    note("begin", job)
    Note.objects.create(text=job)
    strike("in body")
    time.sleep(seconds if claim == 1 else 0.0)
    # As in most tasks, the database is asked last.
    Note.objects.filter(text=job).exists()
    note("end", job)
    return claim


@task(atomic=True, on_crash="fail")
def careful() -> int:
    """Must not begin twice."""
    job, claim = _claim()
    note("begin", job)
    strike("in body")
    Note.objects.exists()
    return claim


@task
def fails() -> None:
    """Its only attempt is a failed one."""
    note("begin", _claim()[0])
    raise ValueError("as asked")


@task
def idle_in_transaction(seconds: float) -> None:
    """Holds a transaction of its own idle; the settlement is not in it."""
    note("begin", _claim()[0])
    with transaction.atomic():
        Note.objects.exists()
        time.sleep(seconds)
        Note.objects.exists()


@task(atomic=True)
def crossing(first: str, second: str) -> int:
    """Changes two shared rows, the second when another job has changed its first one."""
    job, claim = _claim()
    note("begin", job)
    _touch(first)
    note("first", job)
    log = EffectsLog(Path(os.environ[VARIABLE]))
    while len(log.times("first")) < 2:
        time.sleep(0.01)
    _touch(second)
    note("end", job)
    return claim


@task(atomic=True)
def touching(shared: str) -> int:
    """Changes a shared row, and stops before its end."""
    job, claim = _claim()
    note("begin", job)
    _touch(shared)
    strike("in body")
    note("end", job)
    return claim


@task(atomic=True, retry=Retry(max_attempts=50))
def counting(shared: str) -> int:
    """Reads a shared row and writes what it read and one more, which others do at once."""
    job, claim = _claim()
    note("begin", job)
    row = Note.objects.get(text__startswith=shared)
    strike("in body")
    row.text = f"{shared}{int(row.text.removeprefix(shared)) + 1}"
    row.save()
    note("end", job)
    return claim


@task(atomic=True)
def ends_its_own_backend() -> None:
    """Costs its transaction the connection each time, as a query does that crashes the server."""
    note("begin", _claim()[0])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def _touch(shared: str) -> None:
    Note.objects.filter(text=shared).update(text=shared)
