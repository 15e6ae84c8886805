"""What belongs to a job: its attempts and its idempotency records."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.timezone import localtime

from ..core import clock
from ..core.formats import NOTHING, duration
from ..core.messages import message
from ..core.states import State
from ..models import (
    Attempt,
    AttemptLog,
    AttemptOutcome,
    EffectState,
    IdempotencyRecord,
    Job,
    Worker,
)
from . import formatting as show
from .tracebacks import traceback_html

RECORDS = 100
# "failed" and "cancelled" are both, and mean those of an attempt.
LABELS = dict([*State.choices, *AttemptOutcome.choices])


def attempts_of(job: Job, site: str) -> list[dict[str, Any]]:
    """The attempts of a job, the newest first: those that failed, and the one in its own row."""
    rows = [*_own_attempt(job), *job.attempts.order_by("-attempt")]
    workers = Worker.objects.in_bulk({row.worker for row in rows if row.worker})
    logs = {log.attempt: log for log in job.logs.all()}
    # One that cost nothing has a log only: it began again later.
    given_back = sorted(set(logs) - {row.attempt for row in rows}, reverse=True)
    found: list[dict[str, Any]] = [
        {
            "number": str(row.attempt),
            "badge": show.badge(row.outcome, LABELS[row.outcome]),
            "worker": show.worker_of(site, workers.get(row.worker), row.worker),
            "started": show.when(row.started_at),
            "took": _took(row),
            "error": _error(row),
            "traceback": traceback_html(row.traceback) if row.traceback else "",
            "log": _log_of(logs.get(row.attempt)),
        }
        for row in rows
    ]
    found += [{"number": str(number), "log": _log_of(logs[number])} for number in given_back]
    return sorted(found, key=lambda attempt: int(attempt["number"]), reverse=True)


def records_of(job: Job, site: str) -> list[dict[str, Any]]:
    """The idempotency records that this job wrote, at most RECORDS of them."""
    return [
        {
            "key": show.link_to(site, record),
            "badge": show.badge(record.state, EffectState(record.state).label),
            "created": show.when(record.created_at),
            "attempt": record.attempt or NOTHING,
        }
        for record in IdempotencyRecord.objects.filter(job=job.pk).order_by("id")[:RECORDS]
    ]


def _log_of(log: AttemptLog | None) -> dict[str, Any] | None:
    """The lines that an attempt has logged, the last one at the end."""
    if log is None:
        return None
    return {
        "count": len(log.lines),
        "left_out": log.left_out,
        "lines": [
            {
                "at": at,
                "time": f"{at:%H:%M:%S.%f}"[:-3],
                "level": level,
                "logger": name,
                "text": text,
            }
            for moment, level, name, text in log.lines
            for at in [_local(moment)]
        ],
    }


def _local(moment: str) -> datetime:
    """In the site's time zone, and with USE_TZ = False in that of TIME_ZONE."""
    return localtime(datetime.fromisoformat(moment)).replace(tzinfo=None)


def _own_attempt(job: Job) -> list[Attempt]:
    """The attempt that runs or succeeded, which has no row of its own."""
    if job.state not in (State.RUNNING, State.SUCCEEDED):
        return []
    own = Attempt(attempt=job.attempt, outcome=job.state, worker=job.worker)
    own.started_at, own.finished_at = job.started_at, job.finished_at or clock.now()
    return [own]


def _took(row: Attempt) -> str:
    if row.started_at is None:
        return NOTHING
    return duration(clock.between(row.started_at, row.finished_at).total_seconds())


def _error(row: Attempt) -> str:
    parts = (row.exception_class, message(row.code, row.params, row.message))
    return ": ".join(text for text in parts if text)
