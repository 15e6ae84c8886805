"""The life of a job: insert it, claim it for one worker, settle it with the outcome of its attempt.

Each write is conditional; no row is an answer too. PostgreSQL and SQLite run statements.py where it
counts; what the ORM writes here promises the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from copy import copy
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, models, router, transaction
from django.db.models import Case, F, Value, When

from ..core import clock
from ..core.dedup import Dedup, slot_of
from ..core.errors import ClaimLost
from ..core.faultpoints import fault_point
from ..core.flows import GateOn
from ..core.limits import IN_ORDER, Lane, Rate, gives_up_place
from ..core.options import stored_backends
from ..core.outcomes import NO_ERROR, Failure, Log, Outcome, outcome_of_release
from ..core.progress import Progress
from ..core.spans import span_of
from ..core.states import FINAL, WAITING, State, Transition, WaitsFor
from ..models import Attempt, AttemptLog, Job
from . import batches
from .connection import begin_new_session, retried, retry_until_connected
from .expiry import free_expired_slot, not_expired
from .insert_calls import insert_rows, is_plain
from .returning import current, insert_returning, skipping_locked, update_returning
from .statement_texts import FREE_SLOT, OWN
from .statements import dialect_of, meanwhile
from .times import After, Now, after

# The first values of statement_texts.OWN: id, arguments; label and limits, if the task has any.
Call = tuple[Any, ...]


def ledger_database() -> str:
    """The database that holds the ledger, as the site's router says."""
    return router.db_for_write(Job)


@fault_point("insert")
def insert(job: Job, using: str) -> bool:
    """Insert the job. False if its dedup slot is taken: nothing was written then."""
    if_free = job.dedup_slot is not None
    dialect = dialect_of(using)
    inserted = None if dialect is None else dialect.insert(job, if_free, using)
    if inserted is None:
        job.enqueued_at = Now()
        inserted = insert_returning(job, "enqueued_at", using, FREE_SLOT if if_free else "")
    job._state.adding, job._state.db = not inserted, using
    moment: Any = job.enqueued_at
    if not isinstance(moment, datetime):
        # This database does not return it; the row has its time, and the caller an estimate.
        job.enqueued_at = clock.now_as_stored()
    if inserted:
        estimate_expiry(job, job.enqueued_at)
    return inserted


@retried
def insert_calls(first: Job, calls: Sequence[Call], using: str) -> None:
    """Insert jobs that differ from `first` in what a Call has, in one statement."""
    dialect = dialect_of(using)
    if dialect is not None and is_plain(first):
        insert_rows(dialect, first, calls, using)
        return
    jobs = [job_of(first, call) for call in calls]
    for job in jobs:
        job.enqueued_at = Now()
    Job.objects.using(using).bulk_create(jobs, batch_size=len(jobs))


def estimate_expiry(job: Job, enqueued_at: datetime) -> None:
    """Put a time in the place of a length of time, which the database has counted from its clock.

    Only when the row is written: with it, further rows would go by the clock of this host.
    """
    expires: Any = job.expires_at
    if isinstance(expires, After):
        job.expires_at = expires.since(enqueued_at)


def job_of(first: Job, call: Call) -> Job:
    """The job of one such call."""
    job = copy(first)
    for name, value in zip(OWN, call, strict=False):
        setattr(job, name, value)
    return job


def set_limits(job: Job, lane: Lane | None, rate: str | None, allowed: Rate | None) -> None:
    """Put what a call has of limits onto its unsaved row, which then waits for a place or a seat.

    rate: the key of its rate; allowed: how many starts that allows.
    """
    job.turn = -job.priority
    if rate is not None and allowed is not None:
        job.rate, job.starts = rate, allowed.count
        job.per = span_of(allowed.per, "per").total_seconds()
    if lane is not None:
        job.lane, job.at_once, job.lane_mode = lane.key, lane.at_once, lane.mode.value
        job.turn = 0 if lane.mode in IN_ORDER else -job.priority
    if job.state == State.QUEUED and (lane or rate):
        job.state = State.BLOCKED
        job.waits_for = (WaitsFor.LANE if lane else WaitsFor.RATE).value


def set_dedup(job: Job, dedup: Dedup) -> None:
    """Put the dedup key of a call onto its unsaved row."""
    job.dedup_key, job.dedup_slot, job.dedup_scope = dedup.key, dedup.slot, dedup.scope
    if dedup.window is not None:
        job.dedup_until = after(dedup.window)


@retried
def holder_of(slot: str, using: str) -> Job | None:
    """The job that holds a dedup slot; one that has expired, or its window, lets it go here."""
    expired = Job.objects.using(using).filter(
        dedup_slot=slot, state__in=sorted(FINAL), dedup_until__lte=Now()
    )
    holders = Job.objects.using(using).filter(dedup_slot=slot)
    holder = current(holders)
    if holder is None or (holder.is_final and expired.update(dedup_slot=None)):
        return None
    if holder.expires_at is None or holder.attempt:
        return holder
    # Somebody may have cancelled it meanwhile, whose commit this has waited for.
    return None if free_expired_slot(holder, using) else current(holders)


@retried
def waiting_in(queue: str, backend: str, limit: int, using: str) -> int:
    """How many jobs of a backend wait in a queue, counted up to `limit`."""
    waiting = Job.objects.using(using).waiting()
    return waiting.filter(queue=queue, backend__in=stored_backends(backend))[:limit].count()


@fault_point("claim")
def claim_many(
    job_ids: Sequence[UUID],
    worker: UUID,
    using: str,
    queues: Sequence[str] = (),
    backend: str | None = None,
) -> list[Job]:
    """Claim for a worker those of these jobs that are there to be claimed, in one statement.

    queues: only those in one of these; none for any. backend: only those of this one.
    Returns their rows in the order of `job_ids`. (worker, claims) of a returned row is the fencing
    token that settling it will need. The attempt is counted here, so a crash counts. The claim is
    counted too: an attempt that had not begun is given back, a claim never is.
    """
    dialect, backends = dialect_of(using), stored_backends(backend) if backend else ()
    if dialect is not None:
        rows = dialect.claim(job_ids, worker, using, queues, backends)
    else:
        meanwhile.run()
        queued = Job.objects.using(using).filter(pk__in=job_ids, state__in=Transition.CLAIM.sources)
        queued = queued.filter(not_expired())
        queued = queued.filter(queue__in=queues) if queues else queued
        queued = queued.filter(backend__in=backends) if backends else queued
        rows = update_returning(queued, _claimed_by(worker))
    # If the claim had to go another way.
    meanwhile.run()
    if len(rows) > 1:
        order = {job_id: place for place, job_id in enumerate(dict.fromkeys(job_ids))}
        rows.sort(key=lambda job: order[job.pk])
    return rows


def plan_claims(worker: UUID, using: str, queues: Sequence[str], backend: str) -> None:
    """Have the next claim find a plan that is made, and not too old. For one who has time.

    Raises DatabaseError.
    """
    dialect = dialect_of(using)
    if dialect is not None and dialect.has_old_plans(using):
        dialect.claim([], worker, using, queues, stored_backends(backend))


def claim(job_id: UUID, worker: UUID, using: str, queues: Sequence[str] = ()) -> Job | None:
    """Claim this job for a worker and return its row; None if it is not there to be claimed."""
    claimed = claim_many([job_id], worker, using, queues)
    return claimed[0] if claimed else None


@retried
def claim_next(
    queues: Sequence[str],
    worker: UUID,
    using: str,
    claiming: Callable[[UUID], None] | None = None,
    backend: str | None = None,
) -> Job | None:
    """Claim the first queued job of these queues without a message: highest priority first,
    then the order of the queues, then the oldest. For the time when Redis is away, and for tests.

    claiming: called with the id before the claim, so that a crash from here on can be charged to
    it. backend: only its jobs.
    """
    # A look first, which takes no lock: mostly there is nothing, and somebody asks twice a second.
    if not _queued(queues, backend, using).exists():
        return None
    with transaction.atomic(using):
        job_id = _first(queues, backend, using)
        if job_id is None:
            return None
        if claiming is not None:
            claiming(job_id)
        return claim(job_id, worker, using)


def settle(job: Job, outcome: Outcome, using: str) -> None:
    """Write the outcome of a claimed job, and outlive a lost connection: nobody else knows it.

    Raises ClaimLost if the claim no longer holds; nothing was written then.
    """
    retry_until_connected(lambda: _settle_or_find_settled(job, outcome, using), using)


@fault_point("settle")
def apply_outcome(job: Job, outcome: Outcome, using: str) -> None:
    """Write the outcome in the current transaction, if there is one; see settle()."""
    fails = job.batch is not None and outcome.state in (State.FAILED, State.CANCELLED)
    if outcome.failure is None and outcome.log is None and not fails:
        _write(job, outcome, using)
        return
    with transaction.atomic(using):
        _write(job, outcome, using)
        if fails:
            job.effects = batches.end_unsuccessful([job], using)
        if outcome.failure is not None:
            _record(job, outcome.failure, using)
        if outcome.log is not None:
            write_log(job, outcome.log, using)


@fault_point("settle")
def settle_many(done: Sequence[tuple[Job, Any]], using: str) -> set[UUID]:
    """Settle attempts of one worker that succeeded, each with its result, in one commit.

    Returns the ids of those whose claim still held: of the others nothing was written.
    """
    if not done:
        return set()
    settled = _succeed(done, using)
    lost = [end for end in done if end[0].pk not in settled]
    if lost and begin_new_session(using):
        settled |= _succeed(lost, using)
    # A COMMIT whose answer was lost may have gone through: then they are final, by us.
    success = Outcome(Transition.SUCCEED)
    unsettled = [job for job, _ in lost if job.pk not in settled]
    return settled | {job.pk for job in unsettled if is_settled(job, success, using)}


@retried
def release(jobs: Sequence[Job], using: str) -> int:
    """Queue claimed jobs again whose tasks have not begun: they cost no attempt. How many moved."""
    # These take a key again, or wait for their next seat.
    alone = [job for job in jobs if job.dedup_scope == "queued" or job.rate is not None]
    moved = sum(_released_alone(job, using) for job in alone)
    others = [job for job in jobs if job.dedup_scope != "queued" and job.rate is None]
    for claims in sorted({job.claims for job in others}):
        ids = [job.pk for job in others if job.claims == claims]
        claimed = Job.objects.using(using).filter(
            pk__in=ids, state__in=Transition.RELEASE.sources, claims=claims, worker=jobs[0].worker
        )
        moved += claimed.update(state=Transition.RELEASE.target, attempt=F("attempt") - 1)
    return moved


def lost_claim(job: Job) -> ClaimLost:
    """The error of an attempt whose outcome nobody wants any more."""
    return ClaimLost(
        f"Attempt {job.attempt} of job {job.pk} ({job.task}) no longer holds its claim: "
        f"it was rescued or cancelled. Its outcome is dropped."
    )


def is_settled(job: Job, outcome: Outcome, using: str) -> bool:
    """Whether this very outcome is in the database, for one whose COMMIT got no answer."""
    row = Job.objects.using(using).filter(pk=job.pk, claims=job.claims, worker=job.worker)
    return row.filter(state=outcome.transition.target).exists()


def owned(job: Job, using: str) -> models.QuerySet[Job]:
    """The job's row, if this claim of it still holds."""
    return Job.objects.using(using).filter(
        pk=job.pk, state__in=Transition.SUCCEED.sources, claims=job.claims, worker=job.worker
    )


def holds_claim(job: Job, using: str) -> bool:
    """Whether the row still shows this claim."""
    return owned(job, using).exists()


@retried
def is_cancelled(job: Job, using: str) -> bool | None:
    """Whether a cancellation was asked for; None if the claim no longer holds."""
    found = list(owned(job, using).values_list("cancel_requested_at", flat=True))
    return bool(found[0]) if found else None


@retried
def write_progress(job: Job, progress: Progress, using: str) -> bool:
    """Write the progress of a running attempt. False if the claim no longer holds."""
    written = owned(job, using).update(
        progress_done=progress.done,
        progress_total=progress.total,
        progress_message=progress.message,
    )
    return bool(written)


def write_log(job: Job, log: Log, using: str) -> None:
    """Write what the attempt has logged so far, in the place of what is there."""
    row = AttemptLog(
        job_id=job.pk, attempt=job.attempt, lines=list(log.lines), left_out=log.left_out
    )
    targets = connections[using].features.supports_update_conflicts_with_target
    AttemptLog.objects.using(using).bulk_create(
        [row],
        update_conflicts=True,
        update_fields=["lines", "left_out"],
        unique_fields=["job", "attempt"] if targets else None,
    )


def crashes_of(job_id: UUID, using: str) -> int:
    """How often the worker died in this job."""
    return Attempt.objects.using(using).filter(job=job_id, outcome="crash").count()


def slot_after_end() -> Case:
    """A final job keeps its dedup slot only while its window is open."""
    window = When(dedup_scope="window", dedup_until__gt=Now(), then=F("dedup_slot"))
    return Case(window, default=Value(None))


def _first(queues: Sequence[str], backend: str | None, using: str) -> UUID | None:
    rank = Case(*(When(queue=name, then=Value(i)) for i, name in enumerate(queues)))
    rows = skipping_locked(_queued(queues, backend, using))
    return rows.order_by("-priority", rank, "id").values_list("pk", flat=True).first()


def _queued(queues: Sequence[str], backend: str | None, using: str) -> models.QuerySet[Job]:
    rows = Job.objects.using(using).filter(queue__in=list(queues), state=State.QUEUED)
    rows = rows.filter(not_expired())
    return rows if backend is None else rows.filter(backend__in=stored_backends(backend))


def _claimed_by(worker: UUID) -> dict[str, Any]:
    return {
        "state": Transition.CLAIM.target,
        "attempt": F("attempt") + 1,
        "claims": F("claims") + 1,
        "worker": worker,
        "started_at": Now(),
        "held_reason": "",
        "dedup_slot": Case(When(dedup_scope="queued", then=Value(None)), default=F("dedup_slot")),
    }


def _settle_or_find_settled(job: Job, outcome: Outcome, using: str) -> None:
    try:
        apply_outcome(job, outcome, using)
    except ClaimLost:
        # In a session that a task has changed, with another search_path or role say, the row may
        # only be out of sight.
        if begin_new_session(using):
            with suppress(ClaimLost):
                apply_outcome(job, outcome, using)
                return
        # A COMMIT whose answer was lost may have gone through: then the row is final, by us.
        if not is_settled(job, outcome, using):
            raise


def _released_alone(job: Job, using: str) -> bool:
    """It takes the key again that it gave up when it was claimed, if nobody else has it now."""
    try:
        apply_outcome(job, outcome_of_release(), using)
    except ClaimLost:
        return False
    return True


def _write(job: Job, outcome: Outcome, using: str) -> None:
    if outcome.transition is Transition.SUCCEED:
        written = bool(_succeed([(job, outcome.result)], using))
    else:
        values = _values(outcome) | _limits_after(job, outcome)
        written = bool(_updated(owned(job, using), job, values))
    if not written:
        raise lost_claim(job)


@fault_point("move")
def _succeed(done: Sequence[tuple[Job, Any]], using: str) -> set[UUID]:
    leading = [job for job, _ in done if job.has_followers]
    if not leading:
        return _write_successes(done, using)
    with transaction.atomic(using):
        settled = _write_successes(done, using)
        if gates := [job for job in leading if job.pk in settled]:
            gates[0].effects = batches.release_steps([j.pk for j in gates], {GateOn.NEXT}, using)
        return settled


def _write_successes(done: Sequence[tuple[Job, Any]], using: str) -> set[UUID]:
    dialect, worker = dialect_of(using), done[0][0].worker
    if dialect is not None and worker is not None:
        return dialect.settle(done, worker, using)
    ends = [
        (job, {**_values(Outcome(Transition.SUCCEED, result=result)), "place": None, "seat": None})
        for job, result in done
    ]
    with transaction.atomic(using) if len(done) > 1 else nullcontext():
        return {job.pk for job, values in ends if owned(job, using).update(**values)}


def _updated(row: models.QuerySet[Job], job: Job, values: dict[str, Any]) -> int:
    """Update the row. A job that waits again takes the key again that it gave up when it began."""
    if job.dedup_scope != "queued" or values["state"] not in WAITING:
        return row.update(**values)
    try:
        with transaction.atomic(row.db):
            return row.update(**values, dedup_slot=slot_of(job.task, job.dedup_key))
    except IntegrityError:
        # A newer job waits with it.
        return row.update(**values)


def reflect_outcome(job: Job, outcome: Outcome) -> None:
    """Bring the row in memory to where the settlement put it."""
    job.state = outcome.transition.target
    is_clean = outcome.failure is None and outcome.hold is None
    job.__dict__.update(NO_ERROR if is_clean else outcome.error_columns)
    if job.state in FINAL:
        job.result, job.finished_at = outcome.result, clock.now_as_stored()
    if job.lane is not None and gives_up_place(job.lane_mode, outcome.transition):
        job.place = None
    if job.rate is not None:
        job.seat = None
        if job.state == State.QUEUED:
            job.state, job.waits_for = Transition.WAIT.target, WaitsFor.RATE
    if not outcome.charged:
        job.attempt -= 1


def _values(outcome: Outcome) -> dict[str, Any]:
    state = outcome.transition.target
    values: dict[str, Any] = {"state": state, **outcome.error_columns}
    if not outcome.charged:
        values["attempt"] = F("attempt") - 1
        if outcome.begun:
            values["expires_at"] = None
    if outcome.transition is Transition.RETRY_AT:
        values["run_after"] = after(outcome.delay)
    if state in FINAL:
        values |= {"finished_at": Now(), "dedup_slot": slot_after_end(), "result": outcome.result}
    return values


def _limits_after(job: Job, outcome: Outcome) -> dict[str, Any]:
    """What an outcome writes of the limits of a job."""
    values: dict[str, Any] = {}
    if job.lane is not None and gives_up_place(job.lane_mode, outcome.transition):
        values["place"] = None
    if job.rate is not None:
        values["seat"] = None
        if outcome.state == State.QUEUED:
            # Each attempt is a start.
            values |= {"state": Transition.WAIT.target, "waits_for": WaitsFor.RATE}
    return values


def _record(job: Job, failure: Failure, using: str) -> None:
    Attempt.objects.using(using).create(
        job_id=job.pk,
        attempt=job.attempt,
        outcome=failure.outcome,
        worker=job.worker,
        started_at=job.started_at,
        finished_at=Now(),
        exception_class=failure.exception_class,
        message=failure.message[:255],
        traceback=failure.traceback,
        code=failure.code,
        params=failure.params,
    )
