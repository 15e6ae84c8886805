"""Settle: write what an attempt came to, only if the claim still holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, models, transaction
from django.db.models import Case, F, Q, Value, When

from ..core.dedup import slot_of
from ..core.errors import ClaimLost
from ..core.faultpoints import fault_point
from ..core.outcomes import Failure, Outcome
from ..core.states import FINAL, TRANSITIONS, WAITING
from ..models import Attempt, Job
from .dialects import form_of
from .outages import retry_until_connected
from .times import Now, after


def settle(job: Job, settlement: Outcome, using: str) -> None:
    """Settle the claimed job and outlive a lost connection: nobody else knows its outcome.

    Raises ClaimLost if the claim no longer holds; nothing was written then.
    """
    retry_until_connected(lambda: _settle_or_find_settled(job, settlement, using), using)


@fault_point("settle")
def settle_once(job: Job, settlement: Outcome, using: str) -> None:
    """Settle in the current transaction, if there is one; see settle()."""
    if settlement.failure is None:
        _move(job, settlement, using)
        return
    with transaction.atomic(using):
        _move(job, settlement, using)
        _record(job, settlement.failure, using)


@fault_point("settle")
def settle_many(done: Sequence[tuple[Job, Any]], using: str) -> set[UUID]:
    """Settle attempts of one worker that succeeded, each with its result, in one commit.

    Returns the ids of those whose claim still held: of the others nothing was written.
    """
    if not done:
        return set()
    settled = _succeed(done, using)
    lost = [one for one in done if one[0].pk not in settled]
    if lost and _begin_new_session(using):
        settled |= _succeed(lost, using)
    # A COMMIT whose answer was lost may have gone through: then they are final, by us.
    again = Outcome("succeed")
    open_ones = [job for job, _ in lost if job.pk not in settled]
    return settled | {job.pk for job in open_ones if is_settled(job, again, using)}


def lost_claim(job: Job) -> ClaimLost:
    """The error of an attempt whose outcome nobody wants any more."""
    return ClaimLost(
        f"Attempt {job.attempt} of job {job.pk} ({job.task}) no longer holds its claim: "
        f"it was rescued or cancelled. Its outcome is dropped."
    )


def is_settled(job: Job, settlement: Outcome, using: str) -> bool:
    """Whether this very settlement is in the database, for one whose COMMIT got no answer."""
    row = Job.objects.using(using).filter(pk=job.pk, claims=job.claims, worker=job.worker)
    return row.filter(state=TRANSITIONS[settlement.move][1]).exists()


def owned(job: Job, using: str) -> models.QuerySet[Job]:
    """The job's row, if this claim of it still holds."""
    return Job.objects.using(using).filter(
        pk=job.pk, state__in=sorted(TRANSITIONS["succeed"][0]), claims=job.claims, worker=job.worker
    )


def crashes_of(job_id: UUID, using: str) -> int:
    """How often the worker died in this job."""
    return Attempt.objects.using(using).filter(job=job_id, outcome="crash").count()


def _settle_or_find_settled(job: Job, settlement: Outcome, using: str) -> None:
    try:
        settle_once(job, settlement, using)
    except ClaimLost:
        if _settles_in_new_session(job, settlement, using):
            return
        # A COMMIT whose answer was lost may have gone through: then the row is final, by us.
        if not is_settled(job, settlement, using):
            raise


def _settles_in_new_session(job: Job, settlement: Outcome, using: str) -> bool:
    if not _begin_new_session(using):
        return False
    try:
        settle_once(job, settlement, using)
    except ClaimLost:
        return False
    return True


def _begin_new_session(using: str) -> bool:
    """Before a claim is believed to be lost: in a session that a task has changed, with another
    search_path or role say, the row may only be out of sight. False within a transaction.
    """
    if connections[using].in_atomic_block:
        return False
    connections[using].close()
    return True


def _move(job: Job, settlement: Outcome, using: str) -> None:
    if settlement.move == "succeed":
        moved = bool(_succeed([(job, settlement.result)], using))
    else:
        moved = bool(_moved(owned(job, using), job, _values(settlement)))
    if not moved:
        raise lost_claim(job)


@fault_point("move")
def _succeed(done: Sequence[tuple[Job, Any]], using: str) -> set[UUID]:
    form, worker = form_of(using), done[0][0].worker
    if form is not None and worker is not None:
        return form.settle(done, worker, using)
    ends = [(job, _values(Outcome("succeed", result=result))) for job, result in done]
    with transaction.atomic(using) if len(done) > 1 else nullcontext():
        return {job.pk for job, values in ends if owned(job, using).update(**values)}


def _moved(row: models.QuerySet[Job], job: Job, values: dict[str, Any]) -> int:
    """Update the row. A job that waits again takes the key again that it gave up when it began."""
    if job.dedup_scope != "queued" or values["state"] not in WAITING:
        return row.update(**values)
    try:
        with transaction.atomic(row.db):
            return row.update(**values, dedup_slot=slot_of(job.task, job.dedup_key))
    except IntegrityError:
        # A newer job waits with it.
        return row.update(**values)


def _values(settlement: Outcome) -> dict[str, Any]:
    state = TRANSITIONS[settlement.move][1]
    values: dict[str, Any] = {"state": state, **settlement.error_columns}
    if not settlement.charged:
        values["attempt"] = F("attempt") - 1
    if settlement.move == "later":
        values["run_after"] = after(settlement.delay)
    if state in FINAL:
        values |= {
            "finished_at": Now(),
            "dedup_slot": slot_after_end(),
            "result": settlement.result,
        }
    return values


def slot_after_end() -> Case:
    """A final job keeps its dedup slot only while its window is open."""
    open_window = Q(dedup_scope="window", dedup_until__gt=Now())
    return Case(When(open_window, then=F("dedup_slot")), default=Value(None))


def _record(job: Job, failure: Failure, using: str) -> None:
    Attempt.objects.using(using).create(
        job_id=job.pk,
        attempt=job.attempt,
        outcome=failure.outcome,
        worker=job.worker,
        started_at=job.started_at,
        finished_at=Now(),
        exception_class=failure.exception_class,
        message=failure.message,
        traceback=failure.traceback,
        code=failure.code,
        params=failure.params,
    )
