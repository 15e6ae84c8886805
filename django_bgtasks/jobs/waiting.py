"""Jobs whose time has come, or whose place is free: queue them, and send their messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

from django.db import DatabaseError, InterfaceError

from ..core import clock
from ..core.limits import TakenSeat, gives_up_place
from ..core.outcomes import Outcome
from ..core.states import FINAL, State
from ..ledger.admission import AHEAD, LANE, RATE
from ..ledger.connection import retry_until_connected
from ..ledger.lanes import (
    PATIENCE,
    HandedOn,
    impatient_jobs,
    keys_with_waiting,
    take_places_of_paused,
)
from ..ledger.lifecycle import release
from ..ledger.seats import margin_of, next_free, period_of, put_off, shorten, take_seats
from ..ledger.transitions import promote
from ..models import Job
from ..workflows.followers import follow
from .enqueue import PAGE, admit_now, admit_on_commit, dispatch_on_commit, send_now

logger = logging.getLogger("django_bgtasks")
# How often a start is put down as late, which is later still when that is done.
LOOKS = 5
# So many seconds a seat is kept beyond a period after its start, for clocks are not exact; and what
# is given back is worth a statement from this part of a period on.
INEXACT, WORTH = 0.003, 0.01


def pass_on(
    ended: Sequence[tuple[Job, Outcome]], using: str, handed: HandedOn | None = None
) -> None:
    """Give the places that these jobs have held to the next ones, after their settlement, and let
    their workflows go on.

    ended: each as it was before, with what it came to. handed: whose places others have already.
    """
    handed = handed or HandedOn()
    served = {job.lane for job in handed.claimed if job.lane}
    lanes: dict[str, list[int]] = {lane: [] for lane in served if handed.took_long}
    for job, outcome in ended:
        if job.lane is None or job.lane in served:
            continue
        if gives_up_place(job.lane_mode, outcome.transition):
            lanes.setdefault(job.lane, []).extend([job.place] if job.place else [])
    rates = {job.rate for job, _ in ended if job.rate and job.seat}
    if lanes or rates:
        admit_on_commit(lanes, rates, using)
    if seated := [job for job, _ in ended if job.seat_taken]:
        give_back_seats(seated, using)
    members = [job for job, outcome in ended if job.batch and outcome.state in FINAL]
    if members:
        follow(members, using)


def give_seats(jobs: Sequence[Job], using: str) -> list[Job]:
    """Take the seats of those of these claimed jobs that have one.

    Returns the jobs that may begin, each of them after await_start(), in the order of their starts.
    The others are handed back, for another one has begun with their seat.
    """
    seated = [job for job in jobs if job.seat is not None]
    if not seated:
        return list(jobs)
    seats = retry_until_connected(partial(take_seats, seated, using), using)
    handed_back = []
    for job in seated:
        job.seat_taken = seats.get((job.rate or "", job.seat or 0))
        if job.seat_taken is None:
            handed_back.append(job)
        else:
            job.seat = None
    if handed_back:
        retry_until_connected(partial(release, handed_back, using), using)
    first = [job for job in jobs if job not in handed_back]
    return sorted(first, key=lambda job: job.seat_taken.begin if job.seat_taken else 0.0)


def seconds_until_start(job: Job) -> float:
    """For how long a job has to wait for the seat that was taken for it: AHEAD seconds at most."""
    seat = job.seat_taken
    return 0.0 if seat is None else max(0.0, min(AHEAD, seat.begin - clock.monotonic()))


def await_start(job: Job) -> None:
    """Wait until the seat that was taken for a job is free."""
    if (seconds := seconds_until_start(job)) > 0:
        time.sleep(seconds)


def put_off_if_late(job: Job, seat: TakenSeat, using: str) -> None:
    """If a job begins much later than its seat was taken for, keep the seat so much longer: the
    period is one between the starts themselves.
    """
    seat.has_begun = True
    for _look in range(LOOKS):
        late = clock.monotonic() - seat.earliest
        if late <= margin_of(job) / 2:
            break
        # That may take long, too.
        retry_until_connected(partial(put_off, job, seat, late, using), using)
        seat.earliest += late


def give_back_seats(jobs: Sequence[Job], using: str) -> None:
    """Let the seats be free again that were taken for these jobs and that they have not begun with,
    and let others be free a period after their starts.

    What the database refuses is free when the period is over.
    """
    sooner = []
    for job in jobs:
        seat, job.seat_taken = job.seat_taken, None
        if seat is None:
            continue
        if not seat.has_begun:
            sooner.append((job, seat, period_of(job)))
            continue
        # It has begun before that.
        latest = seat.ended or clock.monotonic()
        spare = seat.earliest + margin_of(job) - latest - INEXACT
        if spare > WORTH * (job.per or 0.0):
            sooner.append((job, seat, spare))
    if not sooner:
        return
    try:
        shorten(sooner, using)
    except (DatabaseError, InterfaceError) as error:
        logger.debug("Seats were not given back before the end of their period: %s", error)


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
    count, after, dues = 0, "", list[float]()
    while rates := keys_with_waiting(RATE, after, PAGE, using):
        # Before the seats are given: those that are free a moment later are not among these.
        dues.append(clock.monotonic() + next_free(rates, AHEAD, using))
        count += admit_now({}, rates, using)
        after = rates[-1]
    return count, max(0.0, min(dues) - clock.monotonic()) if dues else None
