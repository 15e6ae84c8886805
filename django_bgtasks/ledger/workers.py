"""Workers: their rows, their heartbeat, and what becomes of the jobs of a dead one."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.lookups import LessThanOrEqual

from ..core.messages import Reason
from ..core.states import State
from ..models import Job, Worker
from .connection import retried
from .returning import skipping_locked
from .times import Now, SecondsBetween, after

# The worker of the jobs that run inline, in whatever process: it has no row and no heartbeat. What
# tells two claims of a job apart is their number.
INLINE_WORKER = UUID(int=0)
# For so many seconds after its timeout a job that runs inline is left alone. Then a worker takes it
# over, for its process must have died.
INLINE_GRACE = 60.0


@retried
def register(worker: Worker, using: str) -> None:
    """Write the row of a worker that starts."""
    worker.started_at = worker.last_seen_at = Now()
    worker.save(using=using, force_insert=True)


@retried
def beat(worker: UUID, using: str, trouble: Reason | None = None) -> bool:
    """Say that this worker lives. False if others have called it dead: then it must not go on.

    trouble: why its job processes do not start, if they do not.
    """
    alive = Worker.objects.using(using).filter(pk=worker, lost_at=None, stopped_at=None)
    code, params = (trouble.code, trouble.params) if trouble else ("", None)
    return bool(alive.update(last_seen_at=Now(), trouble_code=code, trouble_params=params))


@retried
def count_death(worker: UUID, using: str) -> None:
    """One more job process of this worker has died instead of ending."""
    Worker.objects.using(using).filter(pk=worker).update(processes_lost=F("processes_lost") + 1)


@retried
def sign_off(worker: UUID, using: str) -> None:
    """Say that this worker has stopped. What it left running, if anything, is rescued."""
    Worker.objects.using(using).filter(pk=worker, stopped_at=None).update(stopped_at=Now())


@retried
def call_dead(heard_for: float, using: str) -> int:
    """Mark the workers dead that were silent for as long as each says itself; how many there were.

    heard_for: for how many seconds they could have been heard: who may be silent for longer is not
    judged.
    """
    alive = Worker.objects.using(using).filter(lost_at=None, stopped_at=None)
    known = set(alive.order_by().values_list("dead_after", flat=True))
    # Not in the database: MySQL has no infinity, and that is how long a new rescuer could hear.
    limits = {limit for limit in known if limit <= heard_for}
    silent = Q(pk__in=())
    for limit in limits:
        silent |= Q(dead_after=limit, last_seen_at__lt=after(timedelta(seconds=-limit)))
    dead = alive.filter(silent)
    # A read first: on SQLite an update takes the write lock, whether or not it finds a row.
    return dead.update(lost_at=Now()) if limits and dead.exists() else 0


def lost(using: str) -> list[UUID]:
    """The workers that were called dead and are not forgotten yet."""
    return list(Worker.objects.using(using).exclude(lost_at=None).values_list("pk", flat=True))


def ids(using: str) -> list[UUID]:
    """All workers that the ledger knows, those that have ended lately included."""
    return list(Worker.objects.using(using).values_list("pk", flat=True))


def has_live_worker() -> Q:
    """Of a running job: whether its worker has neither stopped nor been called dead.

    Of one that runs inline nobody hears: it counts as alive until its time is over.
    """
    row = Exists(Worker.objects.filter(pk=OuterRef("worker"), lost_at=None, stopped_at=None))
    runs = SecondsBetween(F("started_at"), Now())
    in_time = LessThanOrEqual(runs, F("timeout") + Value(INLINE_GRACE))
    return Q(row) | Q(in_time, worker=INLINE_WORKER)


def orphaned_jobs(using: str) -> models.QuerySet[Job]:
    """Running jobs whose worker has stopped, is dead, or was never known; see has_live_worker()."""
    return Job.objects.using(using).filter(~has_live_worker(), state=State.RUNNING)


@retried
def orphans(limit: int, using: str) -> list[Job]:
    """Running jobs whose worker has stopped, is dead, or was never known.

    Without those whose row is locked: a host that lost its network may leave a transaction behind
    in the database, and to wait for its end would hold up all other tasks. They come later.
    """
    orphaned = orphaned_jobs(using)
    # A read first: on SQLite a transaction takes the write lock, whatever it does.
    if not orphaned.exists():
        return []
    with transaction.atomic(using):
        return list(skipping_locked(orphaned)[:limit])


def cancellations(worker: UUID, using: str) -> list[tuple[UUID, int]]:
    """The (job, claim) pairs that this worker runs and that somebody asked to cancel."""
    cancelled = running_of(worker, using).filter(cancel_requested_at__isnull=False)
    return list(cancelled.values_list("pk", "claims"))


def running_of(worker: UUID, using: str) -> models.QuerySet[Job]:
    """The jobs that this worker has claimed."""
    return Job.objects.using(using).filter(state=State.RUNNING, worker=worker)


@retried
def prune_workers(age: timedelta, using: str) -> int:
    """Delete the rows of workers that ended longer ago than `age`."""
    ended = Worker.objects.using(using).exclude(lost_at=None, stopped_at=None)
    old = ended.filter(last_seen_at__lt=after(-age))
    deleted: int = old._raw_delete(using) if old.exists() else 0
    return deleted
