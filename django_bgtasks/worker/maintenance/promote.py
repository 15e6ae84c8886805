"""Maintenance task: queue the scheduled jobs that are due, and cancel those that have expired."""

from __future__ import annotations

from ...jobs.expiry import expire_jobs
from ...jobs.waiting import promote_jobs
from ...ledger.transitions import next_due

CHUNK = 1000


def run_once(using: str) -> int:
    """Promote one chunk of due jobs and dispatch them. Returns how many there were."""
    return promote_jobs(CHUNK, using)


def run_when_due(using: str) -> float:
    """Promote, if there is a due job, and cancel, if one has expired.

    Returns the seconds to wait until the next run.
    """
    due_in, expires_in = next_due(using)
    waits = [1.0 if wait is None else min(1.0, wait) for wait in (due_in, expires_in)]
    # First, so that none of them is queued before its end. Nothing done although due: another
    # worker is at it.
    if expires_in == 0:
        waits[1] = 0.0 if expire_jobs(CHUNK, using) else 0.1
    if due_in == 0:
        waits[0] = 0.0 if run_once(using) else 0.1
    return min(waits)
