"""The supervisors, their maintenance, the rescuer, Redis, and the wire to the database."""

from __future__ import annotations

from collections.abc import Iterator

from django_bgtasks.core.states import FINAL, State, Transition

from .outcomes import MAX_ATTEMPTS
from .protocol import (
    RUNNING,
    Model,
    claimed,
    ended_life,
    has_expired,
    holds,
    in_hand,
    is_visible,
    latest,
    may_claim,
    written,
)
from .state import (
    BODY,
    CLAIMED,
    DELETED,
    GONE,
    IDLE,
    IN_TIME,
    LATE,
    MARKING,
    POPPED,
    PROCESSES,
    SETTLING,
    UNCOMMITTED,
    UNKNOWN,
    WORKERS,
    Broken,
    Ref,
    Row,
    Seat,
    Step,
    World,
    put,
    without,
)

MAINTENANCE, WIRE, SITE = "maintenance", "the wire", "the site"


def steps(model: Model, world: World) -> Iterator[Step]:
    """What those may do next that run no jobs, and what may happen to any of them."""
    without = model.rules.without
    for worker in range(model.workers):
        if without != "dead_processes":
            yield from _dead_processes(model, world, worker)
        if without != "orphaned_claims":
            yield from _orphaned_claims(model, world, worker)
        yield from _lives(model, world, worker)
    for job, row in enumerate(world.rows):
        if row.state == UNCOMMITTED:
            yield from _commit(model, world, job, row)
        yield from _maintenance(model, world, job, row)
        if row.expiry:
            yield from _time(world, job, row)
        if model.prunes:
            yield from _prune(model, world, job, row)
    for index in range(len(world.late)):
        yield from _arrivals(model, world, index)
    if world.left:
        for seat, process in enumerate(world.seats):
            if process.at != IDLE:
                yield from _deaths(model, world, seat, process)


def _dead_processes(model: Model, world: World, worker: int) -> Iterator[Step]:
    """maintenance.dead_processes.settle_death, for the first death that the supervisor reported.

    It reads the row, looks at the shared states, and writes with the claim that it has read: as
    long as the write is fenced, the three are one moment.
    """
    if not world.workers[worker].deaths:
        return
    job, ref, why = world.workers[worker].deaths[0]
    row = world.rows[job]
    what = f"settle_death of job {job} ({why})"
    done = world._replace(
        workers=put(
            world.workers,
            worker,
            world.workers[worker]._replace(deaths=world.workers[worker].deaths[1:]),
        )
    )
    if row.state == State.QUEUED:
        rows = put(world.rows, job, row._replace(message=1))
        yield Step(True, f"{what}: it is queued, send", WORKERS[worker], done._replace(rows=rows))
    elif not _is_of(model, world, worker, job, ref):
        yield Step(True, f"{what}: nothing to settle", WORKERS[worker], done)
    else:
        kind = why if ref and why != "unbegun" else "release"
        ref = ref or _of_no_process(model, world, worker, job)
        after = written(model, done, job, kind, ref, what, WORKERS[worker])
        failed = after.rows[job].state == State.FAILED
        if failed and model.on_crash(job) == "fail" and not row.begun:
            raise Broken(f"job {job} failed without having begun", what, WORKERS[worker])
        yield Step(True, what, WORKERS[worker], after)
        if world.left:
            again = after._replace(workers=world.workers)
            yield Step(False, f"{what}; the answer is lost", WORKERS[worker], again)


def _is_of(model: Model, world: World, worker: int, job: int, ref: Ref) -> bool:
    """maintenance.dead_processes._is_of."""
    row, rules = world.rows[job], model.rules
    if rules.fence != "id" and (row.state != RUNNING or row.worker != worker):
        return False
    if ref:
        return bool(ref[1]) if rules.fence == "lease" else holds(row, ref, rules)
    others = world.workers[worker].deaths[1:]
    if rules.looks and is_visible(model, world, worker, job):
        return False
    return "deaths" not in rules.looks or not any(other[0] == job for other in others)


def _of_no_process(model: Model, world: World, worker: int, job: int) -> Ref:
    """The row's claim, as maintenance may write for it: only while no process of it has it."""
    token, _ = latest(model, world, job)
    return token, int(not in_hand(model, world, worker, job))


def _orphaned_claims(model: Model, world: World, worker: int) -> Iterator[Step]:
    """maintenance.orphaned_claims.OrphanedClaims.run_once for each job: one look, and the one that
    confirms it.
    """
    dying = {job for job, _, _ in world.workers[worker].deaths}
    for job, row in enumerate(world.rows):
        if row.state != RUNNING or row.worker != worker:
            continue
        hidden = job not in dying and not is_visible(model, world, worker, job)
        if hidden and row.suspect:
            what = f"orphaned claims: release job {job}"
            ref = _of_no_process(model, world, worker, job)
            after = written(model, world, job, "release", ref, what, WORKERS[worker])
            yield Step(True, what, WORKERS[worker], after)
        elif hidden or row.suspect:
            looked = put(world.rows, job, row._replace(suspect=int(hidden)))
            yield Step(
                True,
                f"orphaned claims: look at job {job}",
                WORKERS[worker],
                world._replace(rows=looked),
            )


def _lives(model: Model, world: World, worker: int) -> Iterator[Step]:
    """Supervisor._restart_with_new_id, a kill of the tree, ledger.workers.call_dead in error."""
    if world.workers[worker].lost:
        yield Step(True, "restart with a new id", WORKERS[worker], ended_life(model, world, worker))
    elif world.left:
        struck = world
        for seat in model.seats_of(worker):
            struck = _died_in_body(model, struck, seat, "kill of the whole worker")
        yield Step(
            False, "kill of the whole worker", WORKERS[worker], ended_life(model, struck, worker)
        )
        lost = put(world.workers, worker, world.workers[worker]._replace(lost=1))
        yield Step(
            False, "called dead while it lives", WORKERS[worker], world._replace(workers=lost)
        )


def _maintenance(model: Model, world: World, job: int, row: Row) -> Iterator[Step]:
    """promote.run_once, Redispatch.run_once, rescue.run_once; and Redis loses a message."""
    without = model.rules.without
    if row.state == State.SCHEDULED:
        due = row._replace(state=Transition.PROMOTE.target, message=1)
        yield Step(
            True, f"promote job {job}", MAINTENANCE, world._replace(rows=put(world.rows, job, due))
        )
    # The messages of what has expired lead nowhere, however often they are sent until its end.
    is_missing = row.state == State.QUEUED and not row.message and not has_expired(row)
    if is_missing and without != "redispatch":
        sent = put(world.rows, job, row._replace(message=1))
        yield Step(True, f"redispatch job {job}", MAINTENANCE, world._replace(rows=sent))
    if row.message and world.left:
        gone = put(world.rows, job, row._replace(message=0))
        yield Step(False, f"lose a message of job {job}", MAINTENANCE, world._replace(rows=gone))
    orphaned = row.worker == GONE or (row.worker >= 0 and world.workers[row.worker].lost)
    if row.state == RUNNING and orphaned and without != "rescue":
        what = f"rescue job {job}"
        ref = latest(model, world, job)
        yield Step(
            True, what, MAINTENANCE, written(model, world, job, "crash", ref, what, MAINTENANCE)
        )


def _commit(model: Model, world: World, job: int, row: Row) -> Iterator[Step]:
    """jobs.enqueue: the message is sent while the row is committed, and again if that took long."""

    def becomes(changed: Row) -> World:
        return world._replace(rows=put(world.rows, job, changed._replace(dropped=0)))

    committed = row._replace(state=State.QUEUED)
    again = 1 if row.dropped and model.rules.sends_again else row.message
    yield Step(True, f"commit job {job}", SITE, becomes(committed._replace(message=again)))
    if world.left:
        yield Step(False, f"death after the commit of job {job}", SITE, becomes(committed))
        refused = Row(DELETED, message=row.message)
        yield Step(False, f"the commit of job {job} is refused", SITE, becomes(refused))


def _time(world: World, job: int, row: Row) -> Iterator[Step]:
    """The time comes by which a job must have begun, and ledger.expiry.expire looks for it."""

    def becomes(changed: Row) -> World:
        return world._replace(rows=put(world.rows, job, changed))

    if row.expiry == IN_TIME and row.state not in FINAL:
        yield Step(True, f"job {job} is late now", "the clock", becomes(row._replace(expiry=LATE)))
    if has_expired(row) and row.state in Transition.EXPIRE.sources:
        what = f"expire job {job}"
        if row.ran:
            raise Broken(f"job {job} expired although it had begun", what, MAINTENANCE)
        ended = Row(Transition.EXPIRE.target, message=row.message, done=row.done)
        yield Step(True, what, MAINTENANCE, becomes(ended))


def _prune(model: Model, world: World, job: int, row: Row) -> Iterator[Step]:
    """ledger.prune.prune_jobs: a statement that chooses, and one that deletes. People may call
    ledger.transitions.retry at the same time.

    The locks, and the attempts that are deleted between the two, are one moment with the latter.
    """

    def becomes(changed: Row) -> World:
        return world._replace(rows=put(world.rows, job, changed))

    if row.chosen:
        what = f"prune deletes job {job}"
        if row.state in FINAL or not model.rules.looks_again:
            if row.state not in FINAL:
                raise Broken(f"job {job} was deleted while it was {row.state}", what, MAINTENANCE)
            yield Step(True, what, MAINTENANCE, becomes(Row(DELETED, message=row.message)))
        else:
            yield Step(True, f"{what}: it is live", MAINTENANCE, becomes(row._replace(chosen=0)))
    elif row.state in FINAL:
        yield Step(True, f"prune chooses job {job}", MAINTENANCE, becomes(row._replace(chosen=1)))
    if row.state in Transition.RETRY.sources and world.left:
        again = Row(Transition.RETRY.target, chosen=row.chosen)
        yield Step(False, f"a person retries job {job}", "a person", becomes(again))


def _arrivals(model: Model, world: World, index: int) -> Iterator[Step]:
    """A statement arrives that nobody waits for any more, or it never does."""
    late = world.late[index]
    gone = world._replace(late=without(world.late, index))
    yield Step(True, f"a late {late.what} of job {late.job} never arrives", WIRE, gone)
    what = f"a late {late.what} of job {late.job} arrives {late.kind}".rstrip()
    row = world.rows[late.job]
    if late.what == "claim" and may_claim(row, model.rules):
        after = claimed(model, gone, late.job, late.worker, what, WIRE)
        yield Step(True, what, WIRE, after)
    if late.what == "settle" and holds(row, late.ref, model.rules):
        after = written(model, gone, late.job, late.kind, late.ref, what, WIRE)
        yield Step(True, what, WIRE, after)


def _deaths(model: Model, world: World, seat: int, process: Seat) -> Iterator[Step]:
    """A process dies, by itself or killed at a stop; the supervisor reports it to maintenance."""
    worker = model.worker_of(seat)
    reported = world.workers[worker].deaths
    if len(reported) >= model.processes:
        return
    for ref, why in _reported(model, process):
        what = f"death of {PROCESSES[seat]} ({why})"
        is_end = why == "crash" or (why == "unbegun" and process.at == SETTLING)
        after = _died_in_body(model, world, seat, what) if is_end else world
        # An empty shared state says nothing: such a death is of no job.
        news = () if process.at == MARKING else ((process.job, ref, why),)
        deaths = world.workers[worker]._replace(deaths=(*reported, *news))
        after = after._replace(
            seats=put(world.seats, seat, Seat()), workers=put(world.workers, worker, deaths)
        )
        yield Step(False, what, WORKERS[worker], after)


def _reported(model: Model, process: Seat) -> list[tuple[Ref, str]]:
    """Supervisor._report_death: the claim that the shared state shows, and why the process died."""
    waiting = "unbegun" if model.rules.reports_begun else "interrupted"
    if process.at in (POPPED, MARKING):
        return [(UNKNOWN, "crash")]
    if process.at == CLAIMED:
        # Between the claim and SharedState.claimed, or after it.
        return [(UNKNOWN, "crash"), (process.ref, waiting)]
    is_open = process.kind == "succeed" and model.may_stay_open(process.job)
    if process.kind == "release" or (is_open and not model.rules.charges_ended):
        return [(process.ref, waiting)]
    return [(process.ref, "crash"), (process.ref, "interrupted")]


def _died_in_body(model: Model, world: World, seat: int, what: str) -> World:
    """Count the runs of a job that ended with the death of their process, settled or not."""
    process = world.seats[seat]
    has_begun = process.at == BODY or (
        process.at == SETTLING and process.kind in ("succeed", "raise")
    )
    if not has_begun or model.on_crash(process.job) == "fail":
        return world
    row = world.rows[process.job]
    if row.state in FINAL or row.state == DELETED:
        return world
    if row.begun >= MAX_ATTEMPTS:
        raise Broken(f"job {process.job} killed {row.begun + 1} processes", what, PROCESSES[seat])
    return world._replace(rows=put(world.rows, process.job, row._replace(begun=row.begun + 1)))
