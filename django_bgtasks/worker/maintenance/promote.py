"""Maintenance task: queue the scheduled jobs that are due."""

from __future__ import annotations

from itertools import groupby

from ...core.options import backend_of
from ...jobs.enqueue import dispatch, message_for
from ...ledger.transitions import next_due
from ...ledger.transitions import promote as promote_due
from ...models import Job
from ...transport.connection import uses_redis

CHUNK = 1000


def run_once(using: str) -> int:
    """Promote one chunk of due jobs and dispatch them. Returns how many there were."""
    jobs = promote_due(CHUNK, using)
    send(jobs)
    return len(jobs)


def run_when_due(using: str) -> float:
    """Promote, if there is a due job. Returns the seconds to wait until the next run."""
    due_in = next_due(using)
    if due_in is None or due_in > 0:
        return min(1.0, due_in or 1.0)
    # Nothing promoted although due: another worker is at it.
    return 0.0 if run_once(using) else 0.1


def send(jobs: list[Job]) -> None:
    """Dispatch queued jobs now, in the order in which they were enqueued."""
    ordered = sorted(jobs, key=lambda job: (job.backend, job.pk))
    for stored, group in groupby(ordered, key=lambda job: job.backend):
        backend = backend_of(stored)
        # For one that TASKS does not have, those send who know it.
        if backend is not None and uses_redis(backend):
            dispatch([message_for(job) for job in group], backend)
