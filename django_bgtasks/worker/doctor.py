"""What `bgdoctor` looks at: each finding says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import DatabaseError
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.options import backend_settings
from ..core.reasons import translated
from ..core.states import State
from ..core.verdicts import problems_of
from ..flow.status import status_of
from ..ledger.insert import after
from ..models import Job, Worker
from ..transport.connection import RedisError, connection, describe, has_password, reason
from .preflight import redis_silence, unapplied

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
        text = _("The database does not answer: %s")
        yield Finding(text % translated(reason(error)), _("Check DATABASES."))
        return
    if missing:
        text = _("Migrations are missing: %s.") % ", ".join(missing)
        yield Finding(text, "python manage.py migrate")
        return
    yield Finding(_("The database %r answers and its tables are up to date.") % alias)
    if backend_settings(backend).options.dispatch:
        yield from _redis(backend)
    yield from _workers(backend, alias)
    yield from _figures(backend, alias)


def _redis(backend: str) -> Iterator[Finding]:
    why = redis_silence(backend)
    if why is not None:
        text = _("Redis at %(address)s does not answer: %(why)s")
        cure = _("Start Redis, or correct its address. Jobs run from the database meanwhile.")
        yield Finding(text % {"address": describe(backend), "why": translated(why)}, cure)
        return
    yield Finding(_("Redis at %s answers.") % describe(backend))
    if not has_password(backend):
        cure = _("Set requirepass and put it into the URL.")
        yield Finding(_("Redis has no password."), cure, serious=False)
    yield from _memory(backend)


def _memory(backend: str) -> Iterator[Finding]:
    try:
        info: Any = connection(backend).info("memory")
    except RedisError as error:
        text = _("Redis does not tell its memory: %s") % translated(reason(error))
        yield Finding(text, _("Allow INFO."), serious=False)
        return
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        yield Finding(_("Redis evicts nothing (maxmemory-policy noeviction)."))
        return
    text = _("Redis may evict messages (maxmemory-policy %s); each costs a delay.") % policy
    cure = _("CONFIG SET maxmemory-policy noeviction, or use a Redis of its own.")
    yield Finding(text, cure, serious=False)


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
        yield Finding(_("No worker is running."), _("Start one: %s") % "python manage.py bgworker")
    else:
        yield Finding(ngettext("%d worker is alive.", "%d workers are alive.", count) % count)
    jobs = Job.objects.using(alias).filter(backend=backend)
    late = jobs.filter(state=State.QUEUED, enqueued_at__lt=Now() - LATE)
    waiting = late.filter(run_after=None).count()
    if waiting:
        text = ngettext(
            "%d job has waited for more than 5 minutes.",
            "%d jobs have waited for more than 5 minutes.",
            waiting,
        )
        cure = _("Start more workers, or check that one serves their queues.")
        yield Finding(text % waiting, cure)
    held = jobs.filter(state=State.SCHEDULED).exclude(error="").filter(attempt=0)
    for job in held[:5]:
        text = _("Job %(job)s is held: %(why)s") % {"job": job.pk, "why": translated(job.error)}
        yield Finding(text, _("Deploy its task, or cancel the job."))


def _figures(backend: str, alias: str) -> Iterator[Finding]:
    """What the dashboard and `bgstatus` warn of, and was not said above."""
    for problem in problems_of(status_of(backend, alias)):
        if problem.code not in ("no-worker", "no-redis", "backlog"):
            yield Finding(problem.what, problem.cure, serious=problem.level == "critical")
