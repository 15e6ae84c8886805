"""Cancel the jobs that nobody has begun in time, and tell of it."""

from __future__ import annotations

from uuid import UUID

from ..core.outcomes import outcome_of_expiry
from ..ledger.expiry import expire
from ..workflows.followers import follow
from .busy import announce_unbegun
from .enqueue import admit_next


def expire_jobs(limit: int, using: str, job_id: UUID | None = None) -> int:
    """Cancel at most `limit` of them, or this one; how many there were.

    Each is told of once, by whoever has cancelled it: task_finished, and on_outcome() of the
    middleware. What they held at limits goes to the next ones.
    """
    jobs = expire(limit, using, job_id)
    admit_next(jobs, using)
    follow(jobs, using)
    for job in jobs:
        announce_unbegun(job, outcome_of_expiry(), using)
    return len(jobs)
