"""Deletion of what has served its time, in chunks that no other writer has to wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from ..core import clock
from ..core.states import FINAL, WAITING, State
from ..models import Attempt, AttemptLog, Batch, Blob, Job, Seat
from .batches import end_unsuccessful, lock_batches, path_of
from .connection import in_transaction, retried
from .returning import locked
from .times import Now, after

CHUNK = 1000
# A seat without a row is free; it has one so much longer than it needs it.
SEATS_KEPT = timedelta(hours=1)


def prune_jobs(
    ages: Mapping[str, timedelta], backends: Sequence[str], using: str, chunk: int = CHUNK
) -> int:
    """Delete one chunk of final jobs that ended longer ago than the age of their state in `ages`.

    backends: only jobs with one of these names of a backend.
    Returns how many were deleted; 0 when done.
    """
    jobs = Job.objects.using(using).filter(backend__in=backends)
    return sum(_prune_state(jobs, state, age, chunk) for state, age in ages.items())


@retried
def delete_seen_jobs(seen: Mapping[UUID, str], using: str) -> list[Job]:
    """Delete those of these jobs that do not run, whatever else belongs to them included.

    seen: for each id the state in which somebody chose the job; one that has moved on stays.
    Returns what they were.
    """
    with transaction.atomic(using):
        rows = Job.objects.using(using).filter(pk__in=list(seen)).exclude(state=State.RUNNING)
        # Batches before jobs: that is the order in which all lock them.
        known = set(rows.filter(batch__isnull=False).values_list("batch", flat=True))
        lock_batches([one for batch in known if batch for one in path_of(batch, using)], using)
        # Locked: none of them may be claimed, or retried, before it is gone.
        names = ("task", "queue", "state", "lane", "rate", "batch", "has_followers")
        idle = [job for job in locked(rows).only(*names) if job.state == seen[job.pk]]
        # As if they were cancelled, for those that wait behind them.
        if ended := [job for job in idle if job.batch is not None and job.state in WAITING]:
            ended[0].effects = end_unsuccessful(ended, using)
        Job.objects.using(using).filter(pk__in=[job.pk for job in idle]).delete()
    return idle


@retried
def release_windows(using: str, chunk: int = CHUNK) -> int:
    """Free the dedup slots of final jobs whose window is over; how many."""
    over = Job.objects.using(using).filter(
        dedup_slot__isnull=False, dedup_until__lte=Now(), state__in=sorted(FINAL)
    )
    ids = list(over.values_list("pk", flat=True)[:chunk])
    return over.filter(pk__in=ids).update(dedup_slot=None) if ids else 0


@retried
def prune_blobs(using: str, chunk: int = CHUNK) -> int:
    """Delete the blobs whose jobs are gone; one chunk."""
    job = Job.objects.using(using).filter(pk=OuterRef("job"))
    old = Blob.objects.using(using).filter(~Exists(job))
    ids = list(old.values_list("pk", flat=True)[:chunk])
    return old.filter(pk__in=ids)._raw_delete(using) if ids else 0


@retried
def prune_batches(age: timedelta, using: str, chunk: int = CHUNK) -> int:
    """Delete batches that finished longer ago than that, and of which no job is left; one chunk."""
    rows, jobs = Batch.objects.using(using), Job.objects.using(using)
    has_jobs = Exists(jobs.filter(batch=OuterRef("pk"))) | Exists(jobs.filter(gate=OuterRef("pk")))
    # A job that is kept longer can be retried, and all it is a part of opens again.
    whole = rows.filter(root=OuterRef("root"))
    old = rows.filter(finished_at__lt=after(-age)).filter(~Exists(whole.filter(has_jobs)))
    ids = list(old.order_by("finished_at").values_list("pk", flat=True)[:chunk])
    return old.filter(pk__in=ids)._raw_delete(using) if ids else 0


@retried
def prune_seats(using: str, chunk: int = CHUNK) -> int:
    """Delete the rows of seats that have been free for long; one chunk."""
    free = Seat.objects.using(using).filter(free_at__lt=after(-SEATS_KEPT))
    ids = list(free.values_list("pk", flat=True)[:chunk])
    return free.filter(pk__in=ids)._raw_delete(using) if ids else 0


def _prune_state(jobs: QuerySet[Job], state: str, age: timedelta, chunk: int) -> int:
    # Ids sort by the time they were made, so the primary key finds the old rows; the age itself
    # is compared with the database's clock.
    old = jobs.filter(
        pk__lt=clock.id_floor(clock.now() - age), state=state, finished_at__lt=after(-age)
    ).filter(place__isnull=True)  # A failed job that holds its sequence waits for a person.
    # What a workflow that is open has come to so far may be needed by its later steps, and what it
    # has come to in the end by its callbacks.
    batches = Batch.objects.using(jobs.db)
    root = batches.filter(pk=OuterRef("root"), finished_at=None)
    callbacks = Job.objects.using(jobs.db).live().filter(gate=OuterRef("root"))
    is_needed = Q(finished_at=None) | Exists(root) | Exists(callbacks)
    old = old.exclude(Exists(batches.filter(pk=OuterRef("batch")).filter(is_needed)))
    # Without a lock, for mostly there is nothing to delete.
    ids = list(old.order_by("pk").values_list("pk", flat=True)[:chunk])
    if not ids:
        return 0

    def delete() -> int:
        # One that is retried from here on waits, and finds nothing; one that was retried before is
        # none of these rows any more, and keeps its attempts.
        rows = locked(old.filter(pk__in=ids))
        for model in (Attempt, AttemptLog):
            model._base_manager.using(jobs.db).filter(job__in=rows)._raw_delete(jobs.db)
        return rows._raw_delete(jobs.db) or 0

    return in_transaction(delete, jobs.db)
