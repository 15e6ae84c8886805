"""Workers: their rows, their heartbeat, and what becomes of the jobs of a dead one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from ..core.states import State
from ..models import Job, Worker
from .insert import after
from .sql import skipping_locked


def register(worker: Worker, alias: str) -> None:
    """Write the row of a worker that starts."""
    worker.started_at = worker.last_seen_at = Now()
    worker.save(using=alias, force_insert=True)


def beat(worker: UUID, alias: str, trouble: str = "") -> bool:
    """Say that this worker lives. False if others have called it dead: then it must not go on.

    trouble: why its job processes do not start, if they do not.
    """
    alive = Worker.objects.using(alias).filter(pk=worker, lost_at=None, stopped_at=None)
    return bool(alive.update(last_seen_at=Now(), trouble=trouble))


def count_death(worker: UUID, alias: str) -> None:
    """One more child of this worker has died instead of ending."""
    Worker.objects.using(alias).filter(pk=worker).update(children_lost=F("children_lost") + 1)


def sign_off(worker: UUID, alias: str) -> None:
    """Say that this worker has stopped. What it left running, if anything, is rescued."""
    Worker.objects.using(alias).filter(pk=worker, stopped_at=None).update(stopped_at=Now())


def call_dead(dead_after: float, alias: str) -> int:
    """Mark the workers dead that were not seen for `dead_after` seconds; how many there were."""
    silent = Worker.objects.using(alias).filter(
        lost_at=None, stopped_at=None, last_seen_at__lt=after(timedelta(seconds=-dead_after))
    )
    return silent.update(lost_at=Now())


def lost(alias: str) -> list[UUID]:
    """The workers that were called dead and are not forgotten yet."""
    return list(Worker.objects.using(alias).exclude(lost_at=None).values_list("pk", flat=True))


def orphans(limit: int, alias: str) -> list[Job]:
    """Running jobs whose worker has stopped, is dead, or was never known.

    Without those whose row is locked: a host that lost its network may leave a transaction behind
    in the database, and to wait for its end would hold up all other duties. They come later.
    """
    alive = Worker.objects.using(alias).filter(pk=OuterRef("worker"), lost_at=None, stopped_at=None)
    orphaned = Job.objects.using(alias).filter(~Exists(alive), state=State.RUNNING)
    # A read first: on SQLite a transaction takes the write lock, whatever it does.
    if not orphaned.exists():
        return []
    with transaction.atomic(alias):
        return list(skipping_locked(orphaned)[:limit])


def cancellations(worker: UUID, alias: str) -> list[tuple[UUID, int]]:
    """The (job, claim) pairs that this worker runs and that somebody asked to cancel."""
    asked = running_of(worker, alias).filter(cancel_requested_at__isnull=False)
    return list(asked.values_list("pk", "claims"))


def running_of(worker: UUID, alias: str) -> models.QuerySet[Job]:
    """The jobs that this worker has claimed."""
    return Job.objects.using(alias).filter(state=State.RUNNING, worker=worker)


def prune_workers(kept: timedelta, alias: str) -> int:
    """Delete the rows of workers that ended longer ago than `kept`."""
    ended = Worker.objects.using(alias).exclude(lost_at=None, stopped_at=None)
    deleted: tuple[int, Any] = ended.filter(last_seen_at__lt=after(-kept)).delete()
    return deleted[0]
