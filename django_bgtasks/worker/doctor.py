"""What `bgdoctor` looks at: each finding says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import DatabaseError
from django.db.models.functions import Now

from ..core.options import backend_settings
from ..core.states import State
from ..core.verdicts import problems_of
from ..flow.status import status_of
from ..ledger.insert import after
from ..models import Job, Worker
from ..transport.connection import RedisError, connection, describe, has_password, reason
from .preflight import redis_problem, unapplied

LATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `cure` is empty when it is as it should be."""

    what: str
    cure: str = ""
    serious: bool = True

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.cure


def examine(backend: str, alias: str) -> Iterator[Finding]:
    """Look at the database, at Redis and at the workers of a backend."""
    try:
        missing = unapplied(alias)
    except DatabaseError as error:
        yield Finding(f"The database does not answer: {reason(error)}", "Check DATABASES.")
        return
    if missing:
        yield Finding(f"Migrations are missing: {', '.join(missing)}.", "python manage.py migrate")
        return
    yield Finding(f"The database {alias!r} answers and its tables are up to date.")
    if backend_settings(backend).options.dispatch:
        yield from _redis(backend)
    yield from _workers(backend, alias)
    yield from _figures(backend, alias)


def _redis(backend: str) -> Iterator[Finding]:
    problem = redis_problem(backend)
    if problem:
        yield Finding(problem, "Start Redis, or correct its address. Jobs run from the database.")
        return
    yield Finding(f"Redis at {describe(backend)} answers.")
    if not has_password(backend):
        yield Finding(
            "Redis has no password.", "Set requirepass and put it into the URL.", serious=False
        )
    yield from _memory(backend)


def _memory(backend: str) -> Iterator[Finding]:
    try:
        info: Any = connection(backend).info("memory")
    except RedisError as error:
        yield Finding(f"Redis does not tell its memory: {reason(error)}", "Allow INFO.", False)
        return
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        yield Finding("Redis evicts nothing (maxmemory-policy noeviction).")
        return
    yield Finding(
        f"Redis may evict messages (maxmemory-policy {policy}); each costs a delay.",
        "CONFIG SET maxmemory-policy noeviction, or use a Redis of its own.",
        serious=False,
    )


def _workers(backend: str, alias: str) -> Iterator[Finding]:
    dead_after = backend_settings(backend).options.dead_after
    alive = Worker.objects.using(alias).filter(
        backend=backend,
        stopped_at=None,
        lost_at=None,
        last_seen_at__gte=after(timedelta(seconds=-dead_after)),
    )
    count = alive.count()
    if not count:
        yield Finding("No worker is running.", "Start one: python manage.py bgworker")
    else:
        yield Finding(f"{count} workers are alive." if count > 1 else "1 worker is alive.")
    jobs = Job.objects.using(alias).filter(backend=backend)
    late = jobs.filter(state=State.QUEUED, enqueued_at__lt=Now() - LATE)
    waiting = late.filter(run_after=None).count()
    if waiting:
        yield Finding(
            f"{waiting} jobs have waited for more than 5 minutes.",
            "Start more workers, or check that one serves their queues.",
        )
    held = jobs.filter(state=State.SCHEDULED).exclude(error="").filter(attempt=0)
    for job in held[:5]:
        yield Finding(f"Job {job.pk} is held: {job.error}", "Deploy its task, or cancel the job.")


def _figures(backend: str, alias: str) -> Iterator[Finding]:
    """What the dashboard and `bgstatus` warn of, and was not said above."""
    for problem in problems_of(status_of(backend, alias)):
        if problem.code not in ("no-worker", "no-redis", "backlog"):
            yield Finding(problem.what, problem.cure, serious=False)
