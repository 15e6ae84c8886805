"""What belongs to a job: its attempts, its idempotency records, its owner, what it is about."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..core import clock
from ..core.formats import NOTHING, duration
from ..core.messages import translated
from ..core.states import State
from ..models import AttemptOutcome, EffectState, IdempotencyRecord, Job, Worker
from . import formatting as show
from .tracebacks import traceback_html

RECORDS = 100


NOW_RUNNING = (State.RUNNING, State.SUCCEEDED)


def attempts_of(job: Job, site: str) -> list[dict[str, Any]]:
    """The attempts of a job, the newest first: those that failed, and the one in its own row."""
    failed = list(job.attempts.order_by("-attempt"))
    workers = Worker.objects.in_bulk({row.worker for row in failed if row.worker})
    entries = [
        {
            "number": row.attempt,
            "badge": show.badge(row.outcome, AttemptOutcome(row.outcome).label),
            "worker": _worker(row.worker, workers.get(row.worker), site),
            "started": show.when(row.started_at),
            "took": _took(row.started_at, row.finished_at),
            "error": _error(row.exception_class, row.message),
            "traceback": traceback_html(row.traceback) if row.traceback else "",
        }
        for row in failed
    ]
    return [*_own_attempt(job, site), *entries]


def records_of(job: Job, site: str) -> list[dict[str, Any]]:
    """The idempotency records that this job wrote, at most RECORDS of them."""
    return [
        {
            "key": show.link(show.page_of(site, IdempotencyRecord, record.pk), str(record)),
            "badge": show.badge(record.state, EffectState(record.state).label),
            "created": show.when(record.created_at),
            "attempt": record.attempt or NOTHING,
        }
        for record in IdempotencyRecord.objects.filter(job=job.pk).order_by("id")[:RECORDS]
    ]


def batch_of(job: Job, site: str) -> dict[str, Any] | None:
    """How many jobs of the batch are in each state, and where all of them are listed."""
    if job.batch is None:
        return None
    rows = Job.objects.filter(batch=job.batch).order_by().values_list("state")
    counts = dict(rows.annotate(number=Count("pk")))
    url = reverse("admin:django_bgtasks_job_changelist", current_app=site)
    return {
        "url": f"{url}?q={job.batch}",
        "id": job.batch,
        "states": [
            {
                "badge": show.badge(state, State(state).label),
                "number": counts[state],
                "url": f"{url}?q={job.batch}&state={state}",
            }
            for state in State.values
            if state in counts
        ],
    }


def owner_link(job: Job, site: str) -> SafeString | str:
    """The owner, with a link to its page where it has one."""
    if job.owner is None:
        return NOTHING
    return show.link(show.page_of(site, type(job.owner), job.owner.pk), job.owner)


def about_link(job: Job, site: str) -> SafeString | str:
    """What the job is about, with a link to its page where it has one."""
    if job.about_type is None:
        return NOTHING
    if job.about_type.model_class() is None or job.about is None:
        return _("%(type)s %(key)s (gone)") % {"type": job.about_type, "key": job.about_key}
    label = format_html("{}: {}", job.about._meta.verbose_name, job.about)
    return show.link(show.page_of(site, type(job.about), job.about.pk), label)


def worker_link(worker: UUID | None, site: str) -> SafeString | str:
    """The worker's host and process, with a link to its page; its id when the row is gone."""
    if worker is None:
        return NOTHING
    return _worker(worker, Worker.objects.filter(pk=worker).first(), site)


def _own_attempt(job: Job, site: str) -> list[dict[str, Any]]:
    if job.state not in NOW_RUNNING:
        return []
    return [
        {
            "number": job.attempt,
            "badge": show.badge(job.state, State(job.state).label),
            "worker": worker_link(job.worker, site),
            "started": show.when(job.started_at),
            "took": _took(job.started_at, job.finished_at or clock.now()),
            "error": "",
            "traceback": "",
        }
    ]


def _worker(worker: UUID | None, row: Worker | None, site: str) -> SafeString | str:
    if row is None:
        return str(worker) if worker else NOTHING
    return show.link(show.page_of(site, Worker, row.pk), row)


def _took(started: datetime | None, finished: datetime) -> str:
    return duration(clock.between(started, finished).total_seconds() if started else None)


def _error(exception_class: str, message: str) -> str:
    return ": ".join(text for text in (exception_class, translated(message)) if text)
