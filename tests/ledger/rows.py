"""Jobs as they stand at each step of their life, brought there by the ledger itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django_bgtasks.core import clock
from django_bgtasks.core.dedup import Dedup, slot_of
from django_bgtasks.core.outcomes import Failure, Outcome
from django_bgtasks.core.states import State, Transition, WaitsFor
from django_bgtasks.ledger.lifecycle import claim, insert, set_dedup, settle
from django_bgtasks.ledger.transitions import cancel
from django_bgtasks.models import Attempt, Job

DB = "default"
TASK = "tests.app.tasks.add"
BROKE = Failure("failed", "builtins.ValueError", "broke", "Traceback …")
WINDOW = timedelta(hours=1)


def new(**fields: Any) -> Job:
    """A row that is not there yet."""
    return Job(**{"task": TASK, "queue": "default", "timeout": 60, "backend": "default", **fields})


def keyed(key: str = "k", scope: str = "live", **fields: Any) -> Job:
    """A row with a dedup key that is not there yet."""
    job = new(**fields)
    set_dedup(job, Dedup(key, slot_of(TASK, key), scope, WINDOW if scope == "window" else None))
    return job


def added(job: Job | None = None, **fields: Any) -> Job:
    """A queued job, or a scheduled one if it has a `run_after`."""
    job = job or new(**fields)
    if job.run_after is not None:
        job.state = State.SCHEDULED
    assert insert(job, DB)
    return job


def claimed(job: Job | None = None, worker: UUID | None = None, **fields: Any) -> Job:
    """A job that a worker holds."""
    row = claim(added(job, **fields).pk, worker or clock.new_id(), DB)
    assert row is not None
    return row


def in_state(state: str, **fields: Any) -> Job:
    """A job in this state."""
    if state == State.RUNNING:
        return claimed(**fields)
    if state == State.SUCCEEDED:
        return settled(Outcome(Transition.SUCCEED, result=1), **fields)
    if state == State.FAILED:
        return settled(Outcome(Transition.FAIL, failure=BROKE), **fields)
    if state == State.SCHEDULED:
        fields.setdefault("run_after", clock.now() + timedelta(hours=1))
    if state == State.BLOCKED:
        fields = {"lane": f"k:{clock.new_id()}", "waits_for": WaitsFor.LANE, "at_once": 1, **fields}
    job = added(state=state if state == State.BLOCKED else State.QUEUED, **fields)
    if state == State.CANCELLED:
        cancel(job.pk, DB)
    return now(job)


def settled(settlement: Outcome, job: Job | None = None, **fields: Any) -> Job:
    """A job whose first attempt ended like this."""
    row = claimed(job, **fields)
    settle(row, settlement, DB)
    return now(row)


def now(job: Job) -> Job:
    """The row as it is."""
    return Job.objects.get(pk=job.pk)


def aged(job: Job, age: timedelta) -> Job:
    """The same job, as if it had been made, and had ended, so long ago."""
    then, old = clock.now() - age, now(job)
    Job.objects.filter(pk=job.pk).update(dedup_slot=None)
    old.pk = UUID(int=clock.id_floor(then).int | clock.new_id().int & (1 << 62) - 1)
    old.enqueued_at = then
    old.finished_at = then if old.is_final else None
    old.save(force_insert=True)
    Attempt.objects.filter(job=job.pk).update(job=old)
    Job.objects.filter(pk=job.pk).delete()
    return old
