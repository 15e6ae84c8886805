"""Deletion of what has served its time, in chunks that no other writer has to wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction

from ..core import clock
from ..core.states import FINAL, State
from ..models import Attempt, Blob, Job
from . import idempotency
from .outages import retried
from .times import Now, after

CHUNK = 1000


def prune_jobs(kept: Mapping[str, timedelta], alias: str, chunk: int = CHUNK) -> int:
    """Delete one chunk of final jobs that ended longer ago than their state is kept.

    kept: for each final state, for how long. Returns how many were deleted; 0 when done.
    """
    return sum(_prune_state(state, age, alias, chunk) for state, age in kept.items())


@retried
def delete_jobs(job_ids: Sequence[UUID], alias: str) -> list[Job]:
    """Delete those of these jobs that do not run, whatever else belongs to them included.

    Returns what they were.
    """
    with transaction.atomic(alias):
        rows = Job.objects.using(alias).filter(pk__in=job_ids).exclude(state=State.RUNNING)
        # Locked: none of them may be claimed before it is gone.
        idle = list(rows.select_for_update().only("task"))
        Job.objects.using(alias).filter(pk__in=[job.pk for job in idle]).delete()
    return idle


@retried
def release_windows(alias: str, chunk: int = CHUNK) -> int:
    """Free the dedup slots of final jobs whose window is over; how many."""
    over = Job.objects.using(alias).filter(
        dedup_slot__isnull=False, dedup_until__lte=Now(), state__in=sorted(FINAL)
    )
    ids = list(over.values_list("pk", flat=True)[:chunk])
    return over.filter(pk__in=ids).update(dedup_slot=None) if ids else 0


@retried
def prune_records(alias: str, chunk: int = CHUNK) -> int:
    """Forget idempotency records that have expired; one chunk."""
    over = idempotency.expired(alias)
    ids = list(over.values_list("pk", flat=True)[:chunk])
    return over.filter(pk__in=ids)._raw_delete(alias) if ids else 0


@retried
def prune_blobs(kept: timedelta, alias: str, chunk: int = CHUNK) -> int:
    """Delete blobs older than any job that could still read them; one chunk."""
    old = Blob.objects.using(alias).filter(created_at__lt=after(-kept))
    ids = list(old.values_list("pk", flat=True)[:chunk])
    return old.filter(pk__in=ids)._raw_delete(alias) if ids else 0


@retried
def _prune_state(state: str, age: timedelta, alias: str, chunk: int) -> int:
    # Ids sort by the time they were made, so the primary key finds the old rows; the age itself
    # is compared with the database's clock.
    old = Job.objects.using(alias).filter(
        pk__lt=clock.id_floor(clock.now() - age), state=state, finished_at__lt=after(-age)
    )
    with transaction.atomic(alias):
        ids = list(old.order_by("pk").values_list("pk", flat=True)[:chunk])
        if not ids:
            return 0
        Attempt.objects.using(alias).filter(job__in=ids)._raw_delete(alias)
        return Job.objects.using(alias).filter(pk__in=ids)._raw_delete(alias)
