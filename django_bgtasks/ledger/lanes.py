"""Who may run of the jobs that wait at a limit or in a sequence.

A place is the pair (lane, place) of its job's row, and unique: it can neither be lost nor given
away twice. Nothing is counted, and nothing is locked for a lane. Whoever frees a place, or adds a
job that waits for one, commits first and then looks for whom it fits; the last one to commit sees
all the others. What a crash leaves between the two is found by a sweep.

`tests/model/lanes.py` searches the interleavings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, Value, When

from ..core.faultpoints import fault_point
from ..core.limits import IN_ORDER, LaneMode, prefix_of
from ..core.options import stored_backends
from ..core.outcomes import outcome_of_busy
from ..core.states import State, Transition, WaitsFor
from ..models import Job, LimitOverride, QueuePause
from .admission import STATEMENTS
from .connection import retried
from .returning import skipping_locked, update_returning
from .statements import dialect_of
from .times import After, Now

# How often a place is looked for that somebody else takes at the same moment, and how often those
# that wait are looked for whose rows somebody has locked.
CONFLICTS, LOOKS = 100, 3
# Seconds after which a caller who has enqueued a job has looked for its place, or is dead.
PATIENCE = 5.0
# In this order jobs wait in a lane.
LINE = ("turn", "enqueued_at", "id")
UNPLACED = Q(lane__isnull=False, place__isnull=True)


class Admitted(NamedTuple):
    """A job that has got a place: what its message needs."""

    id: UUID
    queue: str
    priority: int
    task: str
    backend: str


def state_before_claim(job: Job) -> State:
    """Where an unsaved job begins: it waits for its time, then for its place."""
    if job.run_after is not None:
        return State.SCHEDULED
    return State.QUEUED if job.lane is None else State.BLOCKED


def queued_or_blocked() -> dict[str, Any]:
    """What is written into the row of a job whose time has come: it may need a place first."""
    return {
        "waits_for": Case(When(UNPLACED, then=Value(WaitsFor.LANE)), default=Value("")),
        "state": Case(When(UNPLACED, then=Value(State.BLOCKED)), default=Value(State.QUEUED)),
    }


@retried
def admit(freed: Mapping[str, Sequence[int]], using: str) -> list[Admitted]:
    """Give the free places of these lanes to the first jobs that wait there.

    freed: for each lane the numbers that the caller has freed; they are taken first, so that two
    callers of one lane are in each other's way as little as can be. To be called after the commit
    of what the caller has changed. It never waits for a row that somebody has locked.
    """
    admitted: list[Admitted] = []
    looks = LOOKS
    for _conflict in range(CONFLICTS):
        try:
            found, missed = _admit(freed, using)
        except IntegrityError:
            # Somebody else has taken one of these places: nothing was written.
            continue
        admitted += found
        looks -= 1
        if not missed or not looks:
            break
    return admitted


@fault_point("admit")
def _admit(freed: Mapping[str, Sequence[int]], using: str) -> tuple[list[Admitted], bool]:
    """One look: who was admitted, and whether there was somebody else for whom a place is free."""
    lanes = [(lane, prefix_of(lane)) for lane in sorted(freed)]
    own = [(lane, number) for lane, _ in lanes for number in freed[lane]]
    dialect, vendor = dialect_of(using), connections[using].vendor
    if dialect is None:
        return _admit_by_orm(lanes, own, using)
    params = [*dialect.columns(lanes), *dialect.columns(own)]
    rows = dialect.run(STATEMENTS[vendor], params, using, searches=True)
    admitted = [Admitted(_uuid(row[0]), *row[1:]) for row in rows if row[0] is not None]
    return admitted, len(admitted) < len(rows)


def _admit_by_orm(
    lanes: Sequence[tuple[str, str]], own: Sequence[tuple[str, int]], using: str
) -> tuple[list[Admitted], bool]:
    """The same where there is no statement for it."""
    admitted, missed = [], False
    with transaction.atomic(using):
        for lane, prefix in lanes:
            waiting = _line(lane, using)
            head = waiting.first()
            if head is None:
                continue
            allowed = _allowed(head, prefix, using)
            in_use = set(
                Job.objects.using(using).filter(lane=lane, place__isnull=False)
                .values_list("place", flat=True)
            )  # fmt: skip
            free = [number for number in range(1, allowed + 1) if number not in in_use]
            free.sort(key=lambda number: (lane, number) not in own)
            room = max(0, allowed - len(in_use))
            first = list(waiting.values_list("pk", flat=True)[:room])
            rows = skipping_locked(_line(lane, using).filter(pk__in=first)) if first else []
            for job, number in zip(rows, free, strict=False):
                got = {"place": number, "waits_for": "", "state": Transition.UNBLOCK.target}
                if _line(lane, using).filter(pk=job.pk).update(**got):
                    admitted.append(
                        Admitted(job.pk, job.queue, job.priority, job.task, job.backend)
                    )
                    first.remove(job.pk)
            missed = missed or bool(first)
    return admitted, missed


def _line(lane: str, using: str) -> QuerySet[Job]:
    """Those that wait in a lane, in their order. In a limit, none of a paused queue."""
    pause = QueuePause.objects.using(using).filter(
        queue=OuterRef("queue"), backend=OuterRef("backend")
    )
    rows = Job.objects.using(using).filter(waits_for=WaitsFor.LANE, lane=lane)
    return rows.filter(Q(lane_mode__in=sorted(IN_ORDER)) | ~Exists(pause)).order_by(*LINE)


def _allowed(head: Job, prefix: str, using: str) -> int:
    rows = LimitOverride.objects.using(using)
    overrides = dict(
        rows.filter(Q(key=head.lane, is_prefix=False) | Q(key=prefix, is_prefix=True))
        .values_list("is_prefix", "at_once")
    )  # fmt: skip
    allowed = overrides.get(False, overrides.get(True, head.at_once or 0))
    return min(1, allowed) if head.lane_mode in IN_ORDER else allowed


@retried
def skip_busy(job_ids: Collection[UUID], using: str) -> list[Job]:
    """Cancel those of these jobs that have no place and do not wait for one: see LaneMode.SKIP.

    To be called after admit(), which has let in those for whom a place was free. One that has begun
    before waits for its next attempt. Returns those that were cancelled.
    """
    outcome = outcome_of_busy()
    ended = {"finished_at": Now(), "dedup_slot": None, "waits_for": "", "place": None}
    values = {**ended, **outcome.error_columns, "state": outcome.state}
    return update_returning(_impatient(using).filter(pk__in=job_ids), values)


def impatient_jobs(lanes: Collection[str], patience: float, using: str) -> list[UUID]:
    """The jobs of these lanes that skip_busy() is for, and that wait for longer than that."""
    rows = _impatient(using).filter(lane__in=lanes, enqueued_at__lt=After(-patience))
    return list(rows.values_list("pk", flat=True)[:1000])


def _impatient(using: str) -> QuerySet[Job]:
    rows = Job.objects.using(using).filter(waits_for=WaitsFor.LANE, attempt=0)
    return rows.filter(lane_mode=LaneMode.SKIP.value)


@retried
def take_places(queue: str, backend: str, using: str) -> dict[str, list[int]]:
    """Let the queued jobs of a paused queue wait again, whose places others can use meanwhile.

    Returns the numbers that are free now, by their lanes. In a sequence they keep their places.
    """
    holders = Job.objects.using(using).filter(
        queue=queue, backend__in=stored_backends(backend), state=State.QUEUED, place__isnull=False
    )
    holders = holders.exclude(lane_mode__in=sorted(IN_ORDER))
    freed: dict[str, list[int]] = {}
    for pk, lane, place in list(holders.values_list("pk", "lane", "place")):
        waits = {"place": None, "waits_for": WaitsFor.LANE, "state": Transition.BLOCK.target}
        if holders.filter(pk=pk, place=place).update(**waits):
            freed.setdefault(lane or "", []).append(place or 0)
    return freed


def lanes_of_queue(queue: str, backend: str, using: str) -> dict[str, list[int]]:
    """The lanes in which jobs of a queue wait."""
    rows = Job.objects.using(using).filter(waits_for=WaitsFor.LANE, queue=queue)
    lanes = rows.filter(backend__in=stored_backends(backend)).values_list("lane", flat=True)
    return {lane or "": [] for lane in lanes.distinct()}


def lanes_with_waiting(after: str, limit: int, using: str) -> list[str]:
    """The next lanes after this one in which jobs wait, in order; at most `limit`.

    A step through the index for each: DISTINCT would read all that waits.
    """
    table, column = Job._meta.db_table, "waits_for"
    step = f"SELECT MIN(lane) FROM {table} WHERE {column} = %s AND lane > "
    statement = f"""\
WITH RECURSIVE found(lane, number) AS (
    SELECT ({step} %s), 1
    UNION ALL
    SELECT ({step} found.lane), number + 1 FROM found WHERE lane IS NOT NULL AND number < %s
)
SELECT lane FROM found WHERE lane IS NOT NULL"""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [WaitsFor.LANE.value, after, WaitsFor.LANE.value, limit])
        return [lane for (lane,) in cursor.fetchall()]


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
