"""What people and running jobs do to the batches of workflows: add to them, cancel them, retry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NoReturn
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from ..core.dedup import OF_BATCHES, slot_of
from ..core.errors import BatchClosed, DuplicateJob, InvalidMove
from ..core.flows import CALLBACKS, ON_SUCCESS, GateOn
from ..core.outcomes import NO_ERROR
from ..core.states import State, Transition, WaitsFor
from ..models import Batch, BatchOutcome, Job
from .batches import (
    SKIP_CODES,
    SKIPPED,
    cancel_rows,
    find_behind,
    lock_batches,
    pages,
    path_of,
)
from .connection import retried
from .lifecycle import lost_claim, owned, slot_after_end
from .returning import sharing, skipping_locked, update_returning
from .times import Now

# What a job has no more that has given up what it had of its limits.
NO_NUMBERS: dict[str, Any] = {"place": None, "seat": None}
# What a batch has that is not finished, failed or cancelled any more.
UNFINISHED = {"finished_at": None, "failed_at": None, "cancelled_at": None, "outcome": ""}


class GateBusyError(Exception):
    """Somebody is ending the job for which another one would wait: look again."""


def join(batch_id: UUID, adder: Job | None, using: str) -> Batch:
    """The batch, to which jobs can be added until the end of the current transaction.

    adder: the running job that adds them; None for one who has made the batch in this transaction.
    Raises BatchClosed if the batch is finished or cancelled, and ClaimLost.
    """
    if adder is not None and not sharing(owned(adder, using)):
        raise lost_claim(adder)
    batch = next(iter(sharing(Batch.objects.using(using).filter(pk=batch_id))), None)
    if batch is None or batch.finished_at is not None or batch.cancelled_at is not None:
        why = "is gone" if batch is None else batch.outcome or "cancelled"
        raise BatchClosed(f"Batch {batch_id} is {why}: nothing can be added to it.")
    return batch


def cancelled_with_waiting(limit: int, using: str) -> list[UUID]:
    """Cancelled batches that have jobs which wait, as when the one who cancelled them has died."""
    waiting = _members_that_wait(using).filter(batch=OuterRef("pk"))
    rows = Batch.objects.using(using).filter(finished_at=None, cancelled_at__isnull=False)
    return list(rows.filter(Exists(waiting)).values_list("pk", flat=True)[:limit])


@retried
def mark_cancelled(batch_id: UUID, using: str) -> list[UUID]:
    """Note that a batch is cancelled, with all that are a part of it. Returns those that are open.

    From then on nothing can be added to them.
    """
    with transaction.atomic(using):
        while True:
            subtree = subtree_of(batch_id, using)
            rows = lock_batches(subtree, using)
            unmarked = [one.pk for one in rows if one.cancelled_at is None and not one.finished_at]
            Batch.objects.using(using).filter(pk__in=unmarked).update(cancelled_at=Now())
            # Somebody may have added one meanwhile to one that is locked now.
            if set(subtree_of(batch_id, using)) == set(subtree):
                return [one.pk for one in rows if not one.finished_at]


@retried
def cancel_waiting(batches: Collection[UUID], limit: int, using: str) -> list[Job]:
    """Cancel jobs of these batches that wait, at most `limit`. Returns them; the first one has the
    effects.

    Callbacks are left out: the end of their batch decides. So are jobs that somebody has locked:
    who looks again finds them.
    """
    waiting = _members_that_wait(using).filter(batch__in=batches)
    if not waiting.exists():
        return []
    values = ended_by_request()
    jobs: list[Job] = []
    with transaction.atomic(using):
        lock_batches([one for batch in batches for one in path_of(batch, using)], using)
        rows = skipping_locked(waiting).order_by("pk")
        for page in pages(rows.values_list("pk", flat=True)[:limit]):
            jobs += cancel_rows(waiting.filter(pk__in=page), values, batches, using)
    return jobs


def _members_that_wait(using: str) -> QuerySet[Job]:
    rows = Job.objects.using(using).waiting()
    return rows.filter(gate_on__in=("", GateOn.NEXT))


def subtree_of(batch_id: UUID, using: str) -> list[UUID]:
    """A batch and all that are a part of it."""
    found, level = [batch_id], [batch_id]
    while level:
        rows = Batch.objects.using(using).filter(parent__in=level)
        level = list(rows.values_list("pk", flat=True))
        found += level
    return found


def reopen(jobs: Sequence[Job], using: str) -> None:
    """Open the batches again of which these jobs of one batch are a part, and let wait again what
    was skipped for their sake, in the current transaction: they are about to be retried.

    Raises InvalidMove where its batch was skipped itself, and DuplicateJob if another workflow has
    the dedup key of this one meanwhile.
    """
    job = jobs[0]
    if job.error_code in SKIP_CODES:
        _refuse(job)
    gates = {job.pk for job in jobs if job.has_followers}
    if job.batch is not None:
        path = lock_batches(path_of(job.batch, using), using)
        if any(batch.outcome == BatchOutcome.SKIPPED for batch in path):
            _refuse(job)
        gates |= {batch.pk for batch in path if batch.finished_at is not None}
        for batch in path:
            _reopen(batch, using)
    _revive(gates, using)


def _reopen(batch: Batch, using: str) -> None:
    rows = Batch.objects.using(using).filter(pk=batch.pk)
    if not batch.dedup_key:
        rows.update(**UNFINISHED)
        return
    try:
        with transaction.atomic(using):
            rows.update(**UNFINISHED, dedup_slot=slot_of(OF_BATCHES, batch.dedup_key))
    except IntegrityError:
        raise DuplicateJob(
            f"Batch {batch.pk} cannot go on: another one holds its dedup key "
            f"{batch.dedup_key!r}. Wait for that one, or cancel it."
        ) from None


def _revive(gates: Collection[UUID], using: str) -> None:
    """The inverse of skip_steps()."""
    waiting = {
        **NO_ERROR,
        "state": Transition.REVIVE.target,
        "waits_for": WaitsFor.GATE,
        "finished_at": None,
        "expires_at": None,
        "cancel_requested_at": None,
    }
    frontier, ends = set(gates), {GateOn.NEXT, *CALLBACKS}
    while frontier:
        reopened: set[UUID] = set()
        ids: list[UUID] = []
        for page in pages(frontier):
            skipped = Batch.objects.using(using).filter(gate__in=page, outcome=BatchOutcome.SKIPPED)
            rows = update_returning(skipped, UNFINISHED)
            reopened |= {batch.pk for batch in rows}
            ids += find_behind(page, SKIPPED, ends, using)
        jobs: list[Job] = []
        for page in pages(ids):
            rows_again = Job.objects.using(using).filter(
                pk__in=page, state=State.CANCELLED, error_code__in=SKIP_CODES
            )
            jobs += update_returning(rows_again, waiting)
        for job in jobs:
            if job.dedup_key:
                _take_key(job, using)
        frontier = reopened | {job.pk for job in jobs if job.has_followers}


def _take_key(job: Job, using: str) -> None:
    """Let a step that is revived hold its dedup key again. Raises DuplicateJob if it is taken."""
    slot = slot_of(job.task, job.dedup_key)
    try:
        with transaction.atomic(using):
            Job.objects.using(using).filter(pk=job.pk).update(dedup_slot=slot)
    except IntegrityError:
        raise DuplicateJob(
            f"Job {job.pk}, which follows in the workflow, cannot wait again: another one holds "
            f"its dedup key. Wait for that one, or cancel it."
        ) from None


def is_passed(job: Job, using: str) -> bool:
    """Whether what this job waits for has happened; True without a gate.

    Whoever ends that must wait until the end of the current transaction. Raises InvalidMove if it
    has ended otherwise, and GateBusyError if somebody is ending it, who may be waiting for us.
    """
    if job.gate is None:
        return True
    whole = Batch.objects.using(using).filter(pk=job.batch or job.gate).first()
    is_open = whole is None or whole.opened_at is not None
    if job.batch is not None and whole is not None and whole.gate == job.gate:
        # It is locked. The row of its gate is not: whoever ends that waits for the batch.
        return is_open
    batches = sharing(Batch.objects.using(using).filter(pk=job.gate))
    return _has_ended(job, batches[0]) if batches else _has_succeeded(job, is_open, using)


def _has_ended(job: Job, batch: Batch) -> bool:
    """Whether the batch has come to the end for which this job waits."""
    if job.gate_on in ON_SUCCESS and batch.finished_at is not None:
        return batch.outcome == BatchOutcome.SUCCEEDED or _refuse(job)
    is_failure = job.gate_on == GateOn.FAILURE and batch.failed_at is not None
    return batch.finished_at is not None or is_failure


def _has_succeeded(job: Job, is_open: bool, using: str) -> bool:
    """Whether the job for which this one waits has succeeded. is_open: their batch is open."""
    gate = Job.objects.using(using).filter(pk__in=[job.gate])
    gates = sharing(gate, skips_locked=True)
    if not gates and gate.exists():
        raise GateBusyError
    if not gates:
        # One that is pruned has ended long ago; one that was deleted may not have begun.
        return is_open or _refuse(job)
    has_failed = gates[0].is_final and gates[0].state != State.SUCCEEDED
    return _refuse(job) if has_failed else gates[0].state == State.SUCCEEDED


def _refuse(job: Job) -> NoReturn:
    raise InvalidMove.of("retry_gate", job=str(job.pk))


def ended_by_request() -> dict[str, Any]:
    """What the row of a job has that is cancelled before it begins."""
    return {
        **NO_NUMBERS,
        "waits_for": "",
        "finished_at": Now(),
        "dedup_slot": slot_after_end(),
        "cancel_requested_at": Now(),
        "state": Transition.CANCEL_WAITING.target,
    }
