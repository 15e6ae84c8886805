"""Workflows that are open: how many, for how long, and which of them are stuck and why.

For a snapshot: a site without workflows pays one statement for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Max, QuerySet

from ..core.options import stored_backends
from ..core.states import State, WaitsFor
from ..ledger.statements import uuid_of
from ..ledger.times import Now, SecondsBetween, after
from ..models import Batch, BatchOutcome, Job
from ..workflows.progress import stored_ids
from .queries import DUE, UNBLOCKED

# So many that are open are counted, so many of the oldest looked at, and so many listed.
COUNTED, LOOKED, LISTED = 1000, 50, 10
# One that is younger has had no time to be stuck.
YOUNG = 30.0
# When nothing of it has begun or ended for so long, though a worker could, it is stuck.
UNMOVED = 3600.0
LATELY = timedelta(days=1)


class StuckWhy(StrEnum):
    """Why nothing of an open workflow moves.

    job_held: a job of it is held. paused, unserved: a job of it waits in such a queue. closed: at a
    limit of 0, or in a sequence that a failed job holds. unmoved: nothing has begun for long,
    though a worker serves its queue. unfinished: nothing of it is live, and nobody has finished it.
    """

    JOB_HELD = "held"
    PAUSED = "paused"
    UNSERVED = "unserved"
    CLOSED = "closed"
    UNMOVED = "unmoved"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class StuckBatch:
    """An open workflow of which nothing moves. seconds: since it was enqueued.

    job, task, queue: of one that waits; "" if there is none. key: of its limit. waited: seconds
    that it has.
    """

    id: str
    name: str
    why: StuckWhy
    seconds: float
    job: str = ""
    task: str = ""
    queue: str = ""
    key: str = ""
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A workflow that has failed. seconds: since it ended."""

    id: str
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchesSnapshot:
    """The workflows of a backend. open: how many are; at least so many, if that is COUNTED.

    oldest: the id of the one that was enqueued first, age: the seconds since then. failing: how
    many that are open have a job that has failed. stuck: some of the oldest. failed: in the last
    day, the latest first; failed_count of them, counted up to COUNTED.
    """

    open: int = 0
    oldest: str = ""
    age: float | None = None
    failing: int = 0
    stuck: tuple[StuckBatch, ...] = ()
    failed: tuple[FailedBatch, ...] = ()
    failed_count: int = 0


NO_BATCHES = BatchesSnapshot()


@dataclass(frozen=True, slots=True)
class Surface:
    """What a judgement about workflows needs to know of their backend.

    serves: whether jobs of a queue are run. closed: the keys of limits and sequences in which
    nothing moves. is_any_held: whether any job is.
    """

    paused: Collection[str]
    serves: Callable[[str], bool]
    closed: Collection[str]
    is_any_held: bool


def take_batches(backend: str, surface: Surface, using: str) -> BatchesSnapshot:
    """How they stand now."""
    roots = Batch.objects.using(using).filter(
        parent__isnull=True, backend__in=stored_backends(backend)
    )
    rows: Any = roots.filter(outcome="").annotate(seconds=SecondsBetween("created_at", Now()))
    found = list(
        rows.order_by("pk").only("id", "name", "kind", "failed_at", "created_at")[:COUNTED]
    )
    failed, failed_count = _failed(roots)
    old = [row for row in found[:LOOKED] if (row.seconds or 0.0) > YOUNG]
    return BatchesSnapshot(
        len(found),
        str(found[0].pk) if found else "",
        max(0.0, found[0].seconds or 0.0) if found else None,
        sum(row.failed_at is not None for row in found),
        tuple(_stuck(old, surface, using)[:LISTED]) if old else (),
        failed,
        failed_count,
    )


def _failed(roots: QuerySet[Batch]) -> tuple[tuple[FailedBatch, ...], int]:
    rows: Any = roots.filter(outcome=BatchOutcome.FAILED, finished_at__gt=after(-LATELY))
    rows = rows.annotate(seconds=SecondsBetween("finished_at", Now())).order_by("-pk")
    found = list(rows.only("id", "name", "kind")[:COUNTED])
    named = (FailedBatch(str(row.pk), str(row), max(0.0, row.seconds or 0.0)) for row in found)
    return tuple(list(named)[:LISTED]), len(found)


def _stuck(rows: list[Any], surface: Surface, using: str) -> list[StuckBatch]:
    ids = [row.pk for row in rows]
    held_jobs = _held_jobs(ids, using) if surface.is_any_held else {}
    running = _with_running(ids, using)
    still = [row for row in rows if row.pk not in running or row.pk in held_jobs]
    samples = _samples([row.pk for row in still], using) if still else {}
    found, suspects = [], []
    for row in still:
        sample = held_jobs.get(row.pk) or samples.get(row.pk)
        why = _judge(sample, surface, is_held=row.pk in held_jobs)
        if why in (StuckWhy.UNMOVED, StuckWhy.UNFINISHED):
            suspects.append(row.pk)
        if why is not None:
            found.append(_stuck_batch(row, why, sample))
    moved = _last_moves(suspects, using) if suspects else {}
    return [one for one in found if not _has_moved(one, moved)]


def _judge(sample: Any, surface: Surface, is_held: bool) -> StuckWhy | None:
    """Why a workflow without a running job is stuck, by one of its jobs that wait; None if it only
    waits for its time or its turn.
    """
    if is_held:
        return StuckWhy.JOB_HELD
    if sample is None:
        return StuckWhy.UNFINISHED
    checks = {
        StuckWhy.CLOSED: sample.state == State.BLOCKED and sample.lane in surface.closed,
        StuckWhy.PAUSED: sample.state == State.QUEUED and sample.queue in surface.paused,
        StuckWhy.UNSERVED: sample.state == State.QUEUED and not surface.serves(sample.queue),
        StuckWhy.UNMOVED: sample.state == State.QUEUED and (sample.seconds or 0.0) > UNMOVED,
    }
    return next((why for why, is_so in checks.items() if is_so), None)


def _stuck_batch(row: Any, why: StuckWhy, sample: Any) -> StuckBatch:
    seconds = max(0.0, row.seconds or 0.0)
    if sample is None:
        return StuckBatch(str(row.pk), str(row), why, seconds, waited=seconds)
    return StuckBatch(
        str(row.pk), str(row), why, seconds, str(sample.pk), sample.task, sample.queue,
        sample.lane or "", max(0.0, sample.seconds or 0.0),
    )  # fmt: skip


def _has_moved(one: StuckBatch, moved: Mapping[str, float]) -> bool:
    limit = {StuckWhy.UNMOVED: UNMOVED, StuckWhy.UNFINISHED: YOUNG}.get(one.why)
    return limit is not None and one.id in moved and moved[one.id] < limit


def _with_running(ids: Collection[UUID], using: str) -> set[UUID]:
    """Those of these workflows of which a job runs. Few jobs run."""
    running = Job.objects.using(using).filter(state=State.RUNNING, batch__isnull=False)
    rows = Batch.objects.using(using).filter(pk__in=running.order_by().values("batch"))
    return set(rows.order_by().values_list("root", flat=True)) & set(ids)


def _held_jobs(ids: Collection[UUID], using: str) -> dict[UUID, Any]:
    """A job that is held, of each of these workflows that has one."""
    jobs: Any = Job.objects.using(using).filter(UNBLOCKED, batch__isnull=False)
    jobs = jobs.exclude(held_reason="").annotate(seconds=SecondsBetween(DUE, Now()))
    by_batch = {job.batch: job for job in _sampled(jobs.order_by("-pk"))[:COUNTED]}
    rows = Batch.objects.using(using).filter(pk__in=list(by_batch), root__in=ids).order_by()
    return {root: by_batch[pk] for pk, root in rows.values_list("pk", "root")}


def _samples(ids: Collection[UUID], using: str) -> dict[UUID, Any]:
    """One job that waits of each of these workflows: one that is queued, or else one that is for
    later, or else one that waits for a place. None of those that wait for a step.
    """
    batches, jobs_table = Batch._meta.db_table, Job._meta.db_table
    of_workflow = (
        f"SELECT j.id FROM {batches} b JOIN {jobs_table} j ON j.batch = b.id WHERE b.root = r.id"
    )
    kinds = (
        f"j.state = '{State.QUEUED}'",
        f"j.state = '{State.SCHEDULED}'",
        f"j.state = '{State.BLOCKED}' AND j.waits_for IN ('{WaitsFor.LANE}', '{WaitsFor.RATE}')",
    )
    # Those further on are only looked for where there are none of those before them.
    first = ", ".join(f"({of_workflow} AND {kind} LIMIT 1)" for kind in kinds)
    marks = ", ".join(["%s"] * len(ids))
    statement = f"SELECT r.id, COALESCE({first}) FROM {batches} r WHERE r.id IN ({marks})"
    with connections[using].cursor() as cursor:
        cursor.execute(statement, stored_ids(ids, using))
        chosen = {uuid_of(root): pk and uuid_of(pk) for root, pk in cursor.fetchall()}
    jobs: Any = Job.objects.using(using).filter(pk__in=[pk for pk in chosen.values() if pk])
    by_id = {job.pk: job for job in _sampled(jobs.annotate(seconds=SecondsBetween(DUE, Now())))}
    return {root: by_id.get(pk) for root, pk in chosen.items()}


def _sampled(jobs: Any) -> Any:
    return jobs.only("id", "task", "queue", "state", "lane", "batch")


def _last_moves(ids: Collection[UUID], using: str) -> dict[str, float]:
    """For each of these workflows the seconds since a job of it ended last."""
    found = {}
    for root in list(ids)[:LISTED]:
        parts = Batch.objects.using(using).filter(root=root).values("pk")
        jobs: Any = Job.objects.using(using).filter(batch__in=parts).order_by()
        last = jobs.aggregate(seconds=SecondsBetween(Max("finished_at"), Now()))["seconds"]
        if last is not None:
            found[str(root)] = max(0.0, last)
    return found
