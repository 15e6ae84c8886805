"""Jobs whose time has come, or whose place is free: queue them, and send their messages."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.limits import gives_up_place
from ..core.outcomes import Outcome
from ..core.states import State
from ..ledger.lanes import PATIENCE, impatient_jobs, lanes_with_waiting
from ..ledger.transitions import promote
from ..models import Job
from .enqueue import admit_now, admit_on_commit, dispatch_on_commit, send_now

# So many lanes in one statement.
PAGE = 100


def pass_on_places(ended: Sequence[tuple[Job, Outcome]], using: str) -> None:
    """Give the places that these jobs have held to the next ones, after their settlement.

    ended: each as it was before, with what it came to.
    """
    freed: dict[str, list[int]] = {}
    for job, outcome in ended:
        if job.lane is not None and gives_up_place(job.lane_mode, outcome.transition):
            freed.setdefault(job.lane, []).extend([job.place] if job.place else [])
    if freed:
        admit_on_commit(freed, using)


def promote_jobs(limit: int, using: str) -> int:
    """Queue scheduled jobs that are due, or let them wait for their places; at most `limit`.

    Returns how many there were.
    """
    jobs = promote(limit, using)
    send_now(job for job in jobs if job.state == State.QUEUED)
    dispatch_on_commit([job for job in jobs if job.state == State.BLOCKED], using)
    return len(jobs)


def admit_waiting(using: str, patience: float = PATIENCE) -> int:
    """Give places to all that wait where some are free: what a crash between the commit and the
    look has left. Returns how many got one.

    patience: seconds after which a job that does not wait for a place is cancelled.
    """
    count, after = 0, ""
    while lanes := lanes_with_waiting(after, PAGE, using):
        impatient = impatient_jobs(lanes, patience, using)
        count += admit_now(dict.fromkeys(lanes, ()), using, impatient)
        after = lanes[-1]
    return count
