"""Cancel the jobs that nobody has begun in time, and tell of it."""

from __future__ import annotations

import logging
from uuid import UUID

from ..core.outcomes import outcome_of_expiry
from ..ledger.expiry import expire
from .context import context_of
from .middleware import middleware_of, report_outcome
from .results import announce
from .task import known_task


def expire_jobs(limit: int, using: str, job_id: UUID | None = None) -> int:
    """Cancel at most `limit` of them, or this one; how many there were.

    Each is told of once, by whoever has cancelled it: task_finished, and on_outcome() of the
    middleware.
    """
    jobs = expire(limit, using, job_id)
    for job in jobs:
        task = known_task(job.task)
        announce("task_finished", job, task, level=logging.INFO)
        if middleware_of(job.backend):
            report_outcome(context_of(job, task, using), outcome_of_expiry())
    return len(jobs)
