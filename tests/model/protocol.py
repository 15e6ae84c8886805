"""What all parts of the model share: the rules in force, the fence, and the writes to a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django_bgtasks.core.states import FINAL, State, Transition

from .outcomes import MAX_ATTEMPTS, transition_of
from .state import (
    GONE,
    IDLE,
    LATE,
    MARKING,
    NOBODY,
    UNKNOWN,
    Broken,
    Ref,
    Row,
    Seat,
    Worker,
    World,
    put,
)

RUNNING = Transition.CLAIM.target


@dataclass(frozen=True)
class Rules:
    """The protocol; each field other than its default is a twin that must fail.

    fence: what a settlement compares: the number of the claim, the number of the attempt, that the
    job is running, nothing but the id, or the clock (a lease, looked at before the write).
    watches_tokens: whether a token that comes twice is a fault by itself. looks: where maintenance
    looks for a process that may hold the job of one that died before its claim. reports_begun:
    whether the supervisor tells a claim that waited apart from one whose task ran. charges_ended:
    whether a run that has ended and is not settled costs its attempt when its process dies.
    looks_again: whether a prune deletes only what is still final. claims_in_time: whether a claim
    leaves out what has expired. takes_expiry_away: whether a task that has begun and gives its
    attempt back keeps no expiry. looks_for_rows: whether a worker looks again for the row of a
    message that may be ahead of it. sends_again: whether who has enqueued a job does so when its
    commit took longer than a worker looks for it. without: a task that nobody does.
    """

    fence: Literal["claims", "attempt", "state", "id", "lease"] = "claims"
    counts_at_claim: bool = True
    looks: Literal["processes and deaths", "processes", ""] = "processes and deaths"
    state_goes_blank: bool = False
    spares_interrupted: bool = True
    reports_begun: bool = True
    charges_ended: bool = True
    watches_tokens: bool = True
    looks_again: bool = True
    claims_in_time: bool = True
    takes_expiry_away: bool = True
    looks_for_rows: bool = True
    sends_again: bool = True
    without: str = ""


@dataclass(frozen=True)
class Model:
    """modes: of each job: "plain", "atomic", or with " fail" behind it: on_crash="fail"; with
    " expires" it must begin in time; with " early" its message is sent while it is committed.

    faults: how many may strike in one history; None for any number. late: how many statements may
    be under way with nobody waiting for their answer. prunes: whether maintenance prunes what is
    final, which people run again as often as faults may strike.
    """

    modes: tuple[str, ...]
    workers: int = 2
    processes: int = 1
    faults: int | None = None
    late: int = 1
    prunes: bool = False
    rules: Rules = Rules()

    def on_crash(self, job: int) -> str:
        """What the job's task says."""
        return "fail" if self.modes[job].endswith("fail") else "retry"

    def is_atomic(self, job: int) -> bool:
        """Whether its effects commit with its settlement."""
        return self.modes[job].startswith("atomic")

    def may_stay_open(self, job: int) -> bool:
        """Whether its success may wait for those of its group: execute.may_stay_open."""
        return self.modes[job] in ("plain", "plain expires", "plain early")

    def worker_of(self, seat: int) -> int:
        """The worker that this process belongs to."""
        return seat // self.processes

    def seats_of(self, worker: int) -> range:
        """Its processes."""
        return range(worker * self.processes, (worker + 1) * self.processes)


def token_of(row: Row, rules: Rules) -> Any:
    """What the row shows to a fence just now.

    The number of the latest claim is 1 for whoever looks: the numbers below it, which never come
    again, are all 0. So the search ends although the column only grows.
    """
    return (row.worker, row.attempt) if rules.fence == "attempt" else 1


def holds(row: Row, ref: Ref, rules: Rules) -> bool:
    """ledger.lifecycle.owned: whether the WHERE of a settlement finds the row."""
    if rules.fence == "id":
        return True
    if rules.fence in ("state", "lease"):
        return row.state == RUNNING
    return row.state == RUNNING and ref[0] == token_of(row, rules)


def written(
    model: Model, world: World, job: int, kind: str, ref: Ref, what: str, who: str
) -> World:
    """ledger.lifecycle.apply_outcome for a claim that holds, and the message of a job that waits.

    A crash between the two is the fault "lose a message".
    """
    row, rules = world.rows[job], model.rules
    on_crash = model.on_crash(job)
    if kind == "interrupted" and not rules.spares_interrupted:
        on_crash = "retry"
    allowed, state, charged, begun_once = transition_of(kind, row.attempt, on_crash)
    if ref[1] != 1:
        raise Broken(f"job {job} was settled by one who does not hold its latest claim", what, who)
    if row.state not in allowed:
        raise Broken(f"job {job} made a transition that is forbidden, from {row.state}", what, who)
    attempt = row.attempt - (not charged)
    if not rules.counts_at_claim:
        attempt = row.attempt + (kind in ("succeed", "raise", "rollback"))
    done = row.done + (kind == "succeed")
    if done > 1:
        raise Broken(f"job {job} was completed twice", what, who)
    message = 1 if state == State.QUEUED else row.message
    begun = row.begun
    if state in FINAL:
        # Nobody asks them any more: fewer states. A zombie may still begin a task, though.
        attempt, begun = 0, begun if on_crash == "fail" else 0
    expiry, ran = row.expiry, row.ran
    if state in FINAL or (begun_once and not charged and rules.takes_expiry_away):
        expiry = ran = 0
    after = Row(state, attempt, NOBODY, message, done, begun, 0, row.chosen, expiry, ran)
    return world._replace(rows=put(world.rows, job, after))


def claimed(model: Model, world: World, job: int, worker: int, what: str, who: str) -> World:
    """ledger.lifecycle.claim of a queued row. All earlier claims of the job are stale then."""
    row, rules = world.rows[job], model.rules
    assert row.state in Transition.CLAIM.sources
    if has_expired(row):
        raise Broken(f"job {job} was claimed after it had expired", what, who)
    attempt = row.attempt + rules.counts_at_claim
    if attempt > MAX_ATTEMPTS:
        raise Broken(f"attempt {attempt} of job {job}", what, who)
    row = row._replace(state=RUNNING, attempt=attempt, worker=worker, suspect=0)
    world = _aged(model, world._replace(rows=put(world.rows, job, row)), job)
    tokens = [seat.ref[0] for seat in world.seats if seat.job == job and seat.ref != UNKNOWN]
    tokens += [late.ref[0] for late in world.late if late.job == job and late.ref != UNKNOWN]
    fenced = rules.fence in ("claims", "attempt") and rules.watches_tokens
    if fenced and token_of(row, rules) in tokens:
        raise Broken(f"a token of job {job} came a second time", what, who)
    return world


def may_claim(row: Row, rules: Rules) -> bool:
    """The WHERE of a claim."""
    return row.state in Transition.CLAIM.sources and not (rules.claims_in_time and has_expired(row))


def has_expired(row: Row) -> bool:
    """ledger.expiry: what has not begun in time; an attempt that is counted has begun."""
    return row.expiry == LATE and row.attempt == 0


def latest(model: Model, world: World, job: int) -> Ref:
    """The claim that the row shows, for the one who just made it or reads it."""
    return token_of(world.rows[job], model.rules), 1


def is_visible(model: Model, world: World, worker: int, job: int) -> bool:
    """Whether a process of this worker shows the job in its shared state."""
    return any(
        world.seats[seat].job == job and world.seats[seat].at not in (IDLE, MARKING)
        for seat in model.seats_of(worker)
    )


def in_hand(model: Model, world: World, worker: int, job: int) -> bool:
    """Whether a living process of this worker holds the job's latest claim."""
    seats = (world.seats[seat] for seat in model.seats_of(worker))
    return any(seat.job == job and seat.ref and seat.ref[1] for seat in seats)


def _aged(model: Model, world: World, job: int) -> World:
    """All that is known of claims of this job is about former ones now."""
    real = model.rules.fence == "claims"

    def old(of: int, ref: Ref) -> Ref:
        if of != job or not ref:
            return ref
        return (0, 0) if real else (ref[0], 0)

    seats = tuple(
        seat._replace(ref=old(seat.job, seat.ref)) if seat.ref else seat for seat in world.seats
    )
    workers = tuple(
        worker._replace(deaths=tuple((of, old(of, ref), why) for of, ref, why in worker.deaths))
        if worker.deaths
        else worker
        for worker in world.workers
    )
    # A late settlement of a former claim can never find its row again: it need not be kept.
    late = tuple(
        one._replace(ref=old(one.job, one.ref))
        for one in world.late
        if not (real and one.job == job and one.ref)
    )
    return world._replace(seats=seats, workers=workers, late=late)


def ended_life(model: Model, world: World, worker: int) -> World:
    """All processes of a worker are gone; its rows are those of a life that is over."""
    seats = world.seats
    for seat in model.seats_of(worker):
        seats = put(seats, seat, Seat())
    rows = tuple(
        row._replace(worker=GONE, suspect=0) if row.worker == worker else row for row in world.rows
    )
    late = tuple(one._replace(worker=GONE) if one.worker == worker else one for one in world.late)
    return world._replace(
        rows=rows, seats=seats, late=late, workers=put(world.workers, worker, Worker())
    )
