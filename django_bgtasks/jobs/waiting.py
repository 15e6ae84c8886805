"""Jobs whose time has come, or whose place is free: queue them, and send their messages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from ..core import clock
from ..core.limits import gives_up_place
from ..core.outcomes import Outcome
from ..core.states import FINAL, State
from ..ledger.admission import AHEAD, LANE, RATE
from ..ledger.connection import retry_until_connected
from ..ledger.lanes import PATIENCE, impatient_jobs, keys_with_waiting, take_places_of_paused
from ..ledger.lifecycle import release
from ..ledger.seats import margin_of, next_free, put_off, take_seats
from ..ledger.transitions import promote
from ..models import Job
from ..workflows.followers import follow
from .enqueue import PAGE, admit_now, admit_on_commit, dispatch_on_commit, send_now

# How often a start is put down as late, which is later still when that is done.
LOOKS = 5


def pass_on(ended: Sequence[tuple[Job, Outcome]], using: str) -> None:
    """Give the places that these jobs have held to the next ones, after their settlement, and let
    their workflows go on.

    ended: each as it was before, with what it came to.
    """
    lanes: dict[str, list[int]] = {}
    for job, outcome in ended:
        if job.lane is not None and gives_up_place(job.lane_mode, outcome.transition):
            lanes.setdefault(job.lane, []).extend([job.place] if job.place else [])
    rates = {job.rate for job, _ in ended if job.rate and job.seat}
    if lanes or rates:
        admit_on_commit(lanes, rates, using)
    members = [job for job, outcome in ended if job.batch and outcome.state in FINAL]
    if members:
        follow(members, using)


def await_seats(jobs: Sequence[Job], using: str) -> list[Job]:
    """Take the seats of those of these claimed jobs that have one, and wait until they are free.

    They are free in AHEAD seconds at most. Returns the jobs that may begin: the others are handed
    back, for another one has begun with their seat.
    """
    seated = [job for job in jobs if job.seat is not None]
    if not seated:
        return list(jobs)
    start = clock.monotonic()
    waits = retry_until_connected(partial(take_seats, seated, using), using)
    time.sleep(max(0.0, min(AHEAD, max(waits.values(), default=0.0))))
    handed_back = []
    for job in seated:
        wait = waits.get((job.rate or "", job.seat or 0))
        if wait is None:
            handed_back.append(job)
        else:
            job.seat_taken, job.seat = (job.seat or 0, start + wait), None
    if handed_back:
        retry_until_connected(partial(release, handed_back, using), using)
    return [job for job in jobs if job not in handed_back]


def put_off_if_late(job: Job, using: str) -> None:
    """If a job begins much later than its seat was taken for, keep the seat so much longer: the
    period is one between the starts themselves.
    """
    number, begin = job.seat_taken or (0, 0.0)
    for _look in range(LOOKS):
        late = clock.monotonic() - begin
        if late <= margin_of(job) / 6:
            break
        # That may take long, too.
        retry_until_connected(partial(put_off, job, number, late, using), using)
        begin += late


def promote_jobs(limit: int, using: str) -> int:
    """Queue scheduled jobs that are due, or let them wait for their places; at most `limit`.

    Returns how many there were.
    """
    jobs = promote(limit, using)
    send_now(job for job in jobs if job.state == State.QUEUED)
    dispatch_on_commit([job for job in jobs if job.state == State.BLOCKED], using)
    return len(jobs)


def admit_waiting(using: str, patience: float = PATIENCE) -> int:
    """Give places and seats to all that wait where some are free: what a crash between the commit
    and the look has left. Returns how many were let in.

    patience: seconds after which a job that does not wait for a place is cancelled.
    """
    take_places_of_paused(using)
    count, after = 0, ""
    while lanes := keys_with_waiting(LANE, after, PAGE, using):
        impatient = impatient_jobs(lanes, patience, using)
        count += admit_now(dict.fromkeys(lanes, ()), (), using, impatient)
        after = lanes[-1]
    return count + start_rated(using)[0]


def start_rated(using: str) -> tuple[int, float | None]:
    """Give the seats that are free to the jobs that wait for them.

    Returns how many got one, and the seconds until the next one is free; None if nobody waits.
    """
    count, after, waits = 0, "", list[float]()
    while rates := keys_with_waiting(RATE, after, PAGE, using):
        count += admit_now({}, rates, using)
        waits.append(next_free(rates, AHEAD, using))
        after = rates[-1]
    return count, min(waits, default=None)
