"""Cancel jobs that do not wait for a place at their limit, and tell of jobs that never began."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from uuid import UUID

from ..core.outcomes import Outcome, outcome_of_busy
from ..ledger.lanes import skip_busy
from ..models import Job
from .context import context_of
from .middleware import middleware_of, report_outcome
from .results import announce
from .task import known_task

# What is called with jobs that were cancelled so: how their workflows go on is known further up.
AFTER_BUSY: list[Callable[[Sequence[Job], str], None]] = []


def cancel_busy(job_ids: Collection[UUID], using: str) -> set[str]:
    """Cancel those of these jobs that have no place and do not wait for one; see skip_busy().

    Returns their lanes: who has looked there meanwhile may have found them locked.
    """
    jobs = skip_busy(job_ids, using)
    for act in AFTER_BUSY:
        act(jobs, using)
    for job in jobs:
        announce_unbegun(job, outcome_of_busy(), using)
    return {job.lane or "" for job in jobs}


def announce_unbegun(job: Job, outcome: Outcome, using: str) -> None:
    """Tell of a job that was cancelled before it began: task_finished, and the middleware."""
    task = known_task(job.task)
    announce("task_finished", job, task, level=logging.INFO)
    if middleware_of(job.backend):
        report_outcome(context_of(job, task, using), outcome)
