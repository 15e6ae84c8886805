"""Insert jobs: a row per call, in the caller's transaction; the dedup slot decides a race."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import datetime
from typing import Any
from uuid import UUID

from ..core import clock
from ..core.dedup import Dedup
from ..core.faultpoints import fault_point
from ..core.options import stored_backends
from ..core.states import FINAL, WAITING, State, Transition
from ..models import Job
from .dialects import form_of
from .dialects.columns import FREE_SLOT, is_plain
from .outages import retried
from .returning import current, insert_returning
from .times import Now, after

# The id and the arguments of a call.
Call = tuple[UUID, list[Any], dict[str, Any]]


@fault_point("insert")
def insert(job: Job, using: str) -> bool:
    """Insert the job. False if its dedup slot is taken: nothing was written then."""
    if_free = job.dedup_slot is not None
    form = form_of(using)
    if form is not None and is_plain(job):
        inserted = form.insert(job, if_free, using)
    else:
        job.enqueued_at = Now()
        inserted = insert_returning(job, "enqueued_at", using, FREE_SLOT if if_free else "")
    job._state.adding, job._state.db = not inserted, using
    told: Any = job.enqueued_at
    if not isinstance(told, datetime):
        # This database does not tell; the row has its time, and the caller an estimate.
        job.enqueued_at = clock.now_as_stored()
    return inserted


@retried
def insert_calls(first: Job, calls: Sequence[Call], using: str) -> None:
    """Insert jobs that differ from `first` in their ids and arguments only, in one statement."""
    form = form_of(using)
    if form is not None and is_plain(first):
        form.insert_calls(first, calls, using)
        return
    jobs = [job_of(first, call) for call in calls]
    for job in jobs:
        job.enqueued_at = Now()
    Job.objects.using(using).bulk_create(jobs, batch_size=len(jobs))


def job_of(first: Job, call: Call) -> Job:
    """The job of one such call."""
    job = copy(first)
    job.pk, job.args, job.kwargs = call
    return job


def hold(job: Job, dedup: Dedup) -> None:
    """Put the dedup key of a call onto its unsaved row."""
    job.dedup_key, job.dedup_slot, job.dedup_scope = dedup.key, dedup.slot, dedup.scope
    if dedup.window is not None:
        job.dedup_until = after(dedup.window)


@retried
def holder_of(slot: str, using: str) -> Job | None:
    """The job that holds a dedup slot. An expired window of a final job is released here."""
    expired = Job.objects.using(using).filter(
        dedup_slot=slot, state__in=sorted(FINAL), dedup_until__lte=Now()
    )
    holder = current(Job.objects.using(using).filter(dedup_slot=slot))
    if holder is not None and holder.is_final and expired.update(dedup_slot=None):
        return None
    return holder


@retried
def replace_call(holder: Job, job: Job, using: str) -> bool:
    """Give the holder the arguments and the time of a new call (debounce).

    False if it has started or ended meanwhile: then nothing was written.
    """
    waiting = Job.objects.using(using).filter(
        pk=holder.pk, dedup_slot=job.dedup_slot, state__in=sorted(WAITING - {State.BLOCKED})
    )
    values: dict[str, Any] = {"args": job.args, "kwargs": job.kwargs, "run_after": job.run_after}
    target = Transition.POSTPONE.target if job.run_after else State.QUEUED
    if job.dedup_scope == "window":
        values["dedup_until"] = job.dedup_until
    return bool(waiting.update(state=target, priority=job.priority, queue=job.queue, **values))


@retried
def waiting_in(queue: str, backend: str, limit: int, using: str) -> int:
    """How many jobs of a backend wait in a queue, counted up to `limit`."""
    waiting = Job.objects.using(using).waiting()
    return waiting.filter(queue=queue, backend__in=stored_backends(backend))[:limit].count()
