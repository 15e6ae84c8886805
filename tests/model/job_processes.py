"""The job processes: worker.job_process.JobProcess.step and jobs.execute, one statement each.

A job process here has one job at a time. A group of jobs is to the protocol what several processes
of one worker are that die together; its one commit for many is many that are answered together.
"""

from __future__ import annotations

from collections.abc import Iterator

from django_bgtasks.core.states import State, Transition

from .outcomes import transition_of
from .protocol import Model, claimed, holds, latest, may_claim, written
from .state import (
    BODY,
    CHECKED,
    CLAIMED,
    IDLE,
    MARKING,
    POPPED,
    PROCESSES,
    REREAD,
    SETTLING,
    UNCOMMITTED,
    UNKNOWN,
    Broken,
    Late,
    Seat,
    Step,
    World,
    put,
)


def steps(model: Model, world: World, seat: int) -> Iterator[Step]:
    """What this process may do next, and what may happen to the statement that it sends."""
    at = world.seats[seat].at
    if at == IDLE:
        yield from _pop(world, seat)
    elif at == POPPED:
        yield from _claim(model, world, seat)
    elif at == MARKING:
        yield Step(True, "SharedState.claimed", PROCESSES[seat], _move(world, seat, at=CLAIMED))
    elif at == CLAIMED:
        yield Step(True, "begin", PROCESSES[seat], _begin(model, world, seat))
        if world.left:
            yield from _hand_back(model, world, seat)
    elif at == BODY:
        yield from _end(model, world, seat)
    elif at in (SETTLING, CHECKED):
        yield from _settle(model, world, seat)
    else:
        assert at == REREAD
        yield from _reread(world, seat)


def _pop(world: World, seat: int) -> Iterator[Step]:
    """JobProcess.step, SharedState.popped. A message that was sent twice is there again."""
    for job, row in enumerate(world.rows):
        if row.message:
            taken = _move(world, seat, at=POPPED, job=job)
            rows = put(world.rows, job, row._replace(message=0))
            yield Step(True, f"pop job {job}", PROCESSES[seat], taken._replace(rows=rows))
            if world.left:
                yield Step(
                    False, f"pop job {job}, whose message was there twice", PROCESSES[seat], taken
                )


def _claim(model: Model, world: World, seat: int) -> Iterator[Step]:
    """jobs.execute.claim_jobs: claim_many until answered, then SharedState.claimed or drop."""
    job, worker = world.seats[seat].job, model.worker_of(seat)
    if world.rows[job].state == UNCOMMITTED and model.rules.looks_for_rows:
        # It looks again and again, which changes nothing, and gives up.
        dropped = put(world.rows, job, world.rows[job]._replace(dropped=1))
        gives_up = _rest(world, seat)._replace(rows=dropped)
        yield Step(True, f"claim job {job}: no row for long", PROCESSES[seat], gives_up)
        return
    if not may_claim(world.rows[job], model.rules):
        yield Step(True, f"claim job {job}: not queued", PROCESSES[seat], _rest(world, seat))
        return
    what = f"claim job {job}"
    after = claimed(model, world, job, worker, what, PROCESSES[seat])
    at = MARKING if model.rules.state_goes_blank else CLAIMED
    holder = _move(after, seat, at=at, job=job, ref=latest(model, after, job))
    yield Step(True, what, PROCESSES[seat], holder)
    if world.left:
        # It goes through, and the process, which does not know, claims again and finds nothing.
        yield Step(False, f"{what}; the answer is lost", PROCESSES[seat], after)
        if len(world.late) < model.late:
            yield Step(
                False,
                f"{what} gets stuck",
                PROCESSES[seat],
                _sent(world, Late("claim", job, worker)),
            )


def _begin(model: Model, world: World, seat: int) -> World:
    """SharedState.running and the first line of the task."""
    job, after = world.seats[seat].job, _move(world, seat, at=BODY)
    row = world.rows[job]
    if row.expiry and world.seats[seat].ref[1]:
        return after._replace(rows=put(world.rows, job, row._replace(ran=1)))
    if model.on_crash(job) != "fail":
        return after
    if row.begun:
        raise Broken(f"job {job} began twice although on_crash is fail", "begin", PROCESSES[seat])
    return after._replace(rows=put(world.rows, job, row._replace(begun=1)))


def _hand_back(model: Model, world: World, seat: int) -> Iterator[Step]:
    """JobProcess._hand_back: a stop, or a job before it in its group that takes long."""
    for step in _settle(model, _move(world, seat, at=SETTLING, kind="release"), seat):
        yield step._replace(calm=False)


def _end(model: Model, world: World, seat: int) -> Iterator[Step]:
    """jobs.execute._perform: the task returns, raises, or wants to run later."""
    kinds = ["succeed", "raise"]
    if world.left and model.on_crash(world.seats[seat].job) != "fail":
        kinds.append("later")
    for kind in kinds:
        wanting = _move(world, seat, at=SETTLING, kind=kind)
        for step in _settle(model, wanting, seat):
            yield step._replace(calm=step.calm and kind != "later")


def _settle(model: Model, world: World, seat: int) -> Iterator[Step]:
    """ledger.lifecycle.settle, settle_many and release: one conditional UPDATE, repeated until
    it is answered.

    An atomic task that succeeds sends it in the transaction of its effects. What others do between
    that UPDATE and its COMMIT waits for the lock of the row: so the two are one moment here.
    """
    _, job, ref, kind = place = world.seats[seat]
    row = world.rows[job]
    what = f"settle job {job} ({kind})"
    if model.rules.fence == "lease" and place.at != CHECKED:
        yield from _check_lease(model, world, seat)
        return
    if not holds(row, ref, model.rules):
        # ClaimLost, or is_settled: then what follows a settlement is done, the message.
        yield Step(
            True,
            f"{what}: the claim is lost",
            PROCESSES[seat],
            _rest(_with_message(model, world, seat), seat),
        )
        return
    after = written(model, world, job, kind, ref, what, PROCESSES[seat])
    yield Step(True, what, PROCESSES[seat], _rest(after, seat))
    if world.left:
        atomic = kind == "succeed" and model.is_atomic(job)
        at = REREAD if atomic else SETTLING
        yield Step(False, f"{what}; the answer is lost", PROCESSES[seat], _move(after, seat, at=at))
        yield Step(False, f"{what} does not arrive", PROCESSES[seat], _move(world, seat, at=at))
        if len(world.late) < model.late:
            late = Late("settle", job, model.worker_of(seat), ref, kind)
            yield Step(
                False, f"{what} gets stuck", PROCESSES[seat], _move(_sent(world, late), seat, at=at)
            )


def _check_lease(model: Model, world: World, seat: int) -> Iterator[Step]:
    if world.workers[model.worker_of(seat)].lost:
        yield Step(True, "the lease is over", PROCESSES[seat], _rest(world, seat))
    else:
        yield Step(True, "the lease holds", PROCESSES[seat], _move(world, seat, at=CHECKED))


def _reread(world: World, seat: int) -> Iterator[Step]:
    """jobs.execute._undone: is_settled; if it is not, the database has rolled the attempt back."""
    _, job, ref, _ = world.seats[seat]
    row = world.rows[job]
    if row.state == Transition.SUCCEED.target and ref[1]:
        yield Step(True, f"reread job {job}: it went through", PROCESSES[seat], _rest(world, seat))
    else:
        rolled_back = _move(world, seat, at=SETTLING, kind="rollback")
        yield Step(True, f"reread job {job}: not settled", PROCESSES[seat], rolled_back)


def _with_message(model: Model, world: World, seat: int) -> World:
    _, job, ref, kind = world.seats[seat]
    row = world.rows[job]
    queued = row.state == State.QUEUED and ref[1]
    if queued and transition_of(kind, max(1, row.attempt), model.on_crash(job))[1] == State.QUEUED:
        return world._replace(rows=put(world.rows, job, row._replace(message=1)))
    return world


def _move(world: World, seat: int, **changes: object) -> World:
    moved = world.seats[seat]._replace(**changes)  # type: ignore[arg-type]
    if moved.at == REREAD:
        moved = moved._replace(kind="")
    return world._replace(seats=put(world.seats, seat, moved))


def _rest(world: World, seat: int) -> World:
    return world._replace(seats=put(world.seats, seat, Seat(IDLE, -1, UNKNOWN, "")))


def _sent(world: World, late: Late) -> World:
    return world._replace(late=tuple(sorted((*world.late, late))))
