"""The transitions of jobs that no worker runs: promote, postpone, cancel, retry, run now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Greatest
from django.utils.translation import gettext as _

from ..core.dedup import slot_of
from ..core.errors import DuplicateJob, InvalidMove
from ..core.faultpoints import fault_point
from ..core.formats import exact
from ..core.options import known_backends
from ..core.states import State, Transition, WaitsFor, in_words, refuse
from ..models import Batch, Job
from .admission import queued_or_blocked
from .batch_moves import NO_NUMBERS, GateBusyError, ended_by_request, is_passed, reopen
from .batches import cancel_rows
from .connection import retried
from .expiry import that_expire
from .lifecycle import holder_of
from .returning import current, skipping_locked, update_returning
from .statement_texts import OF_LIMITS
from .times import Now, SecondsBetween

# How often a job is looked at again that changes its state at the same moment.
LOOKS = 20


@retried
@fault_point("promote")
def promote(limit: int, using: str) -> list[Job]:
    """Queue scheduled jobs that are due, oldest first; at most `limit` at once. Returns them.

    Those with a limit or a sequence are blocked now, unless they have kept their place.

    Those of backends that TASKS does not have wait: who knows their backend queues and sends them.
    """
    due = _scheduled(using).filter(run_after__lte=Now())
    # A read first: on SQLite a transaction takes the write lock, whatever it does.
    if not due.exists():
        return []
    with transaction.atomic(using):
        first = skipping_locked(due).order_by("run_after")
        ids = list(first.values_list("pk", flat=True)[:limit])
        if not ids:
            return []
        # The due time is checked again: without row locks the job may have been postponed.
        return update_returning(due.filter(pk__in=ids), queued_or_blocked())


@retried
def promote_if_due(job_id: UUID, using: str) -> bool:
    """Queue this job, or let it wait for its place, if it is scheduled and due. False if not."""
    due = _scheduled(using).filter(pk=job_id, run_after__lte=Now())
    return bool(due.update(**queued_or_blocked()))


def next_due(using: str) -> tuple[float | None, float | None]:
    """Seconds until the next scheduled job is due, and until the next job expires that has not
    begun; None without one. By the database's clock, in one statement.
    """
    parts = [
        _first_wait(_scheduled(using), "run_after"),
        _first_wait(that_expire(using), "expires_at"),
    ]
    columns = ", ".join(f"({statement})" for statement, _params in parts)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {columns}", [value for _, params in parts for value in params])
        due, expires = cursor.fetchone()
    return _not_negative(due), _not_negative(expires)


def _first_wait(rows: QuerySet[Job], field: str) -> tuple[str, tuple[Any, ...]]:
    """The statement that gives the seconds until the first of these times."""
    wait = rows.annotate(wait=SecondsBetween(Now(), field)).order_by(field)
    query = wait.values_list("wait", flat=True)[:1].query
    statement, params = query.get_compiler(using=rows.db).as_sql()
    return statement, tuple(params)


def _not_negative(wait: float | None) -> float | None:
    return None if wait is None else max(0.0, wait)


def _scheduled(using: str) -> QuerySet[Job]:
    rows = Job.objects.using(using).filter(state=State.SCHEDULED)
    return rows.filter(backend__in=known_backends())


@retried
def replace_call(holder: Job, job: Job, using: str) -> bool:
    """Give the holder of a dedup slot the arguments, the time and the carried context of a new call
    (debounce).

    False if it has started or ended meanwhile: then nothing was written.
    """
    waiting = Job.objects.using(using).filter(
        pk=holder.pk, dedup_slot=job.dedup_slot, state__in=Transition.POSTPONE.sources
    )
    # One that was for later waits from now on, and not since it was enqueued.
    since = Case(When(state=State.SCHEDULED, then=Now()), default=F("run_after"))
    copied = ("args", "kwargs", "types", "carried", "label", "expires_at", "retry")
    values: dict[str, Any] = {name: getattr(job, name) for name in copied}
    values["run_after"] = job.run_after or since
    values["max_attempts"] = Greatest(Value(job.max_attempts), F("attempt") + 1)
    if job.dedup_scope == "window":
        values["dedup_until"] = job.dedup_until
    values |= {"priority": job.priority, "queue": job.queue}
    # On MariaDB an assignment sees those before it: what reads a column comes before it is written.
    values |= _state_of_call(job)
    values |= {name: getattr(job, name) for name in OF_LIMITS}
    return bool(waiting.update(**values))


def _state_of_call(job: Job) -> dict[str, Any]:
    """The state in which a new call puts a job that waits. A place in the same lane it keeps."""
    if job.run_after is not None:
        return {"waits_for": "", "state": Transition.POSTPONE.target, **NO_NUMBERS}
    if job.lane is None:
        return {"waits_for": job.waits_for, "state": job.state, **NO_NUMBERS}
    has_place = Q(lane=job.lane, place__isnull=False)
    waits_for, state = (WaitsFor.RATE, State.BLOCKED) if job.rate else ("", State.QUEUED)
    return {
        "waits_for": Case(When(has_place, then=Value(waits_for)), default=Value(WaitsFor.LANE)),
        "state": Case(When(has_place, then=Value(state)), default=Value(State.BLOCKED)),
        "place": Case(When(has_place, then=F("place")), default=None),
        "seat": None,
    }


@retried
def cancel(job_id: UUID, using: str) -> Job:
    """Cancel a job that has not started; ask for the end of one that runs.

    Returns the job as it is then: cancelled, or running when its worker is to stop it.
    Raises Job.DoesNotExist, or InvalidMove for a job that is final.
    """
    transition = Transition.CANCEL_WAITING
    row = Job.objects.using(using).filter(pk=job_id)
    for _look in range(LOOKS):
        waiting = row.filter(state__in=transition.sources)
        if cancelled := update_returning(waiting.filter(batch=None), ended_by_request()):
            return cancelled[0]
        # Whoever asks again changes nothing.
        first_request = {"cancel_requested_at": Coalesce("cancel_requested_at", Now())}
        if running := update_returning(row.filter(state=State.RUNNING), first_request):
            return running[0]
        job = _row(job_id, using)
        if job.batch and (
            cancelled := cancel_rows(waiting, ended_by_request(), [job.batch], using, patient=True)
        ):
            return cancelled[0]
        # It moved between the two updates, say from running back to queued: look again.
        if job.is_final:
            break
    raise refuse(transition, job.state, job_id)


@retried
def retry(job_id: UUID, using: str) -> Job:
    """Queue a failed or cancelled job again, for at least one more attempt.

    With a limit or a sequence it waits for a place, if it has not kept its own. It takes its dedup
    key again. Raises DuplicateJob when another live job holds it, InvalidMove when the job is in
    another state, Job.DoesNotExist when there is none.
    """
    job = Job.objects.using(using).get(pk=job_id)
    slot = slot_of(job.task, job.dedup_key) if job.dedup_key else None
    ended = Job.objects.using(using).filter(pk=job_id, state__in=Transition.RETRY.sources)
    queued = {**_retried_values(), "dedup_slot": slot}
    if job.batch is None and job.gate is None:
        moved = _queued_again(job, ended, queued, using)
    else:
        moved = _queued_in_workflow(job, ended, queued, using)
    job = _row(job_id, using)
    if not moved:
        raise refuse(Transition.RETRY, job.state, job_id)
    return job


@retried
def retry_members(ids: Sequence[UUID], batch_id: UUID, using: str) -> list[Job]:
    """retry() for many jobs of a batch that wait for nothing but the batch, and have no dedup key.

    Returns those that were retried. Raises InvalidMove and DuplicateJob as retry() does.
    """
    rows = Job.objects.using(using).filter(batch=batch_id, state__in=Transition.RETRY.sources)
    with transaction.atomic(using):
        jobs = list(rows.filter(pk__in=ids).only("batch", "error_code", "has_followers"))
        if not jobs:
            return []
        reopen(jobs, using)
        values = _retried_values()
        if Batch.objects.using(using).filter(pk=batch_id, opened_at=None).exists():
            values |= {"state": Transition.RETRY_BLOCKED.target, "waits_for": WaitsFor.GATE}
        return update_returning(rows.filter(pk__in=[job.pk for job in jobs]), values)


def _retried_values() -> dict[str, Any]:
    return {
        **queued_or_blocked(),
        "finished_at": None,
        # It waits from now on, not since it was enqueued.
        "run_after": Now(),
        "expires_at": None,
        "cancel_requested_at": None,
        "held_reason": "",
        "max_attempts": Greatest(F("max_attempts"), F("attempt") + 1),
    }


def _queued_in_workflow(job: Job, ended: QuerySet[Job], values: dict[str, Any], using: str) -> int:
    """Open its batches again first. It may have to wait for the step before it."""
    for left in reversed(range(LOOKS)):
        try:
            with transaction.atomic(using):
                if not ended.exists():
                    return 0
                reopen([job], using)
                if not is_passed(job, using):
                    values |= {"state": Transition.RETRY_BLOCKED.target, "waits_for": WaitsFor.GATE}
                return _queued_again(job, ended, values, using)
        except GateBusyError:
            if not left:
                raise
            time.sleep(0.02)
    return 0


def _queued_again(job: Job, ended: QuerySet[Job], values: dict[str, Any], using: str) -> int:
    for left in reversed(range(LOOKS)):
        try:
            with transaction.atomic(using):
                return ended.update(**values)
        except IntegrityError:
            holder = holder_of(values["dedup_slot"] or "", using)
            if holder is not None:
                raise _duplicate(job, holder) from None
            # It was the window of a job that has ended, and it is over: the key is free now.
            if not left:
                raise
    return 0


@retried
def run_now(job_id: UUID, using: str) -> Job:
    """Queue a scheduled job now: with a limit or a sequence, it waits for a place.

    InvalidMove when it is not scheduled.
    """
    scheduled = Job.objects.using(using).filter(pk=job_id, state__in=Transition.PROMOTE.sources)
    moved = scheduled.update(**queued_or_blocked(), run_after=Now(), held_reason="")
    job = _row(job_id, using)
    if not moved:
        raise refuse(Transition.PROMOTE, job.state, job_id)
    return job


@retried
def run_anyway(job_id: UUID, using: str) -> Job:
    """Queue a job that waits for a place or a seat, without one.

    InvalidMove when it does not wait.
    """
    transition = Transition.UNBLOCK
    blocked = Job.objects.using(using).filter(pk=job_id, state__in=transition.sources)
    # What a step would get from the one before it is not there.
    blocked = blocked.exclude(waits_for=WaitsFor.GATE)
    moved = blocked.update(waits_for="", state=transition.target, run_after=Now())
    job = _row(job_id, using)
    if not moved:
        raise refuse(transition, job.state, job_id)
    return job


@retried
def release_place(job_id: UUID, using: str) -> Job:
    """Take from a failed job the place with which it holds its sequence.

    InvalidMove when it holds none.
    """
    failed = Job.objects.using(using).filter(pk=job_id, state=State.FAILED, place__isnull=False)
    moved = failed.update(place=None)
    job = _row(job_id, using)
    if not moved:
        raise InvalidMove.of("holds_no_sequence", job=str(job_id), state=job.state)
    return job


def _row(job_id: UUID, using: str) -> Job:
    job = current(Job.objects.using(using).filter(pk=job_id))
    if job is None:
        raise Job.DoesNotExist(str(job_id))
    return job


def _duplicate(job: Job, holder: Job) -> DuplicateJob:
    text = _(
        "Job %(job)s cannot run again: job %(holder)s, which is %(state)s, holds its dedup key."
    )
    message = text % {"job": job.pk, "holder": holder.pk, "state": in_words(holder.state)}
    cure = _("Wait for that job or cancel it.")
    if holder.is_final and holder.dedup_until:
        cure = _("Its window is open until %s.") % exact(holder.dedup_until)
    return DuplicateJob(f"{message} {cure}", holder.pk)
