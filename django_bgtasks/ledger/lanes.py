"""Who may run of the jobs that wait at a limit or in a sequence.

A place is the pair (lane, place) of its job's row, and unique: it can neither be lost nor given
away twice. Nothing is counted, and nothing is locked for a lane. Whoever frees a place, or adds a
job that waits for one, commits first and then looks for whom it fits; the last one to commit sees
all the others. Whoever finds locked who is next looks again: that one may get another place. What a
crash leaves between the two is found by a sweep. A worker that has run a job hands its place on in
the statement that settles it.

`tests/model/lanes.py` searches the interleavings.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from ..core import clock
from ..core.faultpoints import fault_point
from ..core.limits import IN_ORDER, LaneMode, prefix_of
from ..core.options import stored_backends
from ..core.outcomes import outcome_of_busy
from ..core.states import State, Transition, WaitsFor
from ..models import Job, LimitOverride, QueuePause, Seat
from .admission import (
    AHEAD,
    LANE,
    RATE,
    Kind,
    admit_sql,
    claim_next_sql,
    first_sql,
    hand_on_sql,
)
from .batches import cancel_rows
from .connection import retried
from .returning import skipping_locked, update_returning
from .statements import claimed_job, dialect_of, uuid_of
from .times import After, Now

logger = logging.getLogger("django_bgtasks")
# How often a place is looked for that somebody else takes at the same moment.
CONFLICTS = 100
# Seconds between two looks for those whose rows somebody has locked, mostly for as long as a
# statement takes. Whoever locks them for longer looks again himself when they are not any more.
PAUSES = (0.0, 0.0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
LONGEST = sum(PAUSES)
# Seconds after which a caller who has enqueued a job has looked for its place, or is dead.
PATIENCE = 5.0
# In this order jobs wait in a lane.
LINE = ("turn", "enqueued_at", "id")


class Admitted(NamedTuple):
    """A job that has got what it waited for.

    waits_for: what it waits for now; without that it is queued, and its message can be sent.
    """

    id: UUID
    queue: str
    priority: int
    task: str
    backend: str
    waits_for: str
    rate: str | None


def admit(kind: Kind, freed: Mapping[str, Sequence[int]], using: str) -> list[Admitted]:
    """Give the free places of these lanes, or seats of these rates, to the first that wait there.

    freed: for each key the numbers that the caller has freed; they are taken first, so that two
    callers with one key are in each other's way as little as can be. To be called after the commit
    of what the caller has changed. It waits for no lock, but looks again, for about 0.1 s at most.
    """
    admitted: list[Admitted] = []
    own, conflicts, pauses = freed, 0, list(PAUSES)
    while True:
        start = clock.monotonic()
        try:
            found, missed = _admit(kind, own, using)
        except IntegrityError as error:
            # Somebody else has taken one of these numbers: nothing was written.
            conflicts += 1
            if conflicts == CONFLICTS:
                text = "%d looks for who may run were refused, and are left to maintenance: %s"
                logger.warning(text, conflicts, error)
                return admitted
            continue
        admitted += found
        # Somebody may have found these locked, and have given up by now.
        missed = missed or bool(found and clock.monotonic() - start > LONGEST)
        # Who waits for a seat is looked for when the next one is free.
        if not missed or not pauses or (kind is RATE and pauses[0]):
            return admitted
        time.sleep(pauses.pop(0))
        # What was freed may be too high a number for who is the next.
        own = dict.fromkeys(freed, ())


@retried
@fault_point("admit")
def _admit(
    kind: Kind, freed: Mapping[str, Sequence[int]], using: str
) -> tuple[list[Admitted], bool]:
    """One look: who was admitted, and whether somebody was not for whom there is room."""
    keys = [(key, prefix_of(key)) for key in sorted(freed)]
    own = [(key, number) for key, _ in keys for number in freed[key]]
    dialect, vendor = dialect_of(using), connections[using].vendor
    if dialect is None:
        return _admit_by_orm(kind, keys, own, using)
    params = [*dialect.columns(keys), *dialect.columns(own)]
    rows = dialect.run(admit_sql(kind, vendor), params, using, searches=True)
    admitted = [Admitted(uuid_of(row[0]), *row[1:]) for row in rows if row[0] is not None]
    return admitted, len(admitted) < len(rows)


class Line(NamedTuple):
    """Who waits first in a lane, in their order: jobs of one queue, one priority and one backend;
    none if they differ in that.
    """

    queue: str
    priority: int
    backend: str
    ids: list[UUID]


@retried
def first_in_line(lanes: Collection[str], using: str) -> dict[str, Line] | None:
    """Who waits first in those of these lanes in which somebody waits; None where there is no
    hand_on().
    """
    dialect, vendor = dialect_of(using), connections[using].vendor
    if dialect is None:
        return None
    rows = dialect.run(first_sql(vendor), [dialect.array(lanes)], using, searches=True)
    if vendor == "postgresql":
        return {lane: Line(*rest) for lane, *rest in rows}
    return {
        lane: Line(queue, priority, backend, [UUID(pk) for pk in json.loads(ids)])
        for lane, queue, priority, backend, ids in rows
    }


class HandedOn(NamedTuple):
    """settled: the jobs that are. claimed: who was next, and has their places. took_long: somebody
    may have found these locked, and have given up by now: admit() is to follow.
    """

    settled: Collection[UUID] = ()
    claimed: Sequence[Job] = ()
    took_long: bool = False


@fault_point("settle")
def hand_on(
    done: Sequence[tuple[Job, Any]], heirs: Mapping[UUID, tuple[str, int]], using: str
) -> HandedOn:
    """Settle attempts of one worker that succeeded, and claim who is next for their places, in one
    commit: no place is free meanwhile, so nobody has to look for whom it fits.

    done: as settle_many() takes them, and none with followers. heirs: by id, the lane and its
    number, which one of these jobs has; those are claimed that are the first in line then. What was
    not settled is for settle_many(). Raises DatabaseError: nothing is known to be written then.
    """
    dialect, worker, start = dialect_of(using), done[0][0].worker, clock.monotonic()
    if dialect is None or worker is None:
        return HandedOn()
    rows = [(lane, prefix_of(lane), pk.hex, number) for pk, (lane, number) in heirs.items()]
    if connections[using].vendor == "postgresql":
        keys = dialect.columns(rows, 4)
        params = [*dialect.array_of_ends(done), worker.hex, *keys, worker.hex]

        def make(row: Any) -> tuple[UUID, Job | None]:
            return uuid_of(row[0]), claimed_job(row[1:], using) if row[1] else None

        found = dialect.run(hand_on_sql(dialect), params, using, searches=True, make=make)
        took_long = clock.monotonic() - start > LONGEST
        return HandedOn({pk for pk, _ in found}, [job for _, job in found if job], took_long)
    with transaction.atomic(using):
        settled = dialect.settle(done, worker, using)
        ended = {job.lane for job, _ in done if job.pk in settled}
        keys = dialect.columns([row for row in rows if row[0] in ended], 4)
        found = dialect.run(claim_next_sql(dialect), [*keys, worker.hex], using)
    return HandedOn(settled, [claimed_job(row, using) for row in found])


def _admit_by_orm(
    kind: Kind, keys: Sequence[tuple[str, str]], own: Sequence[tuple[str, int]], using: str
) -> tuple[list[Admitted], bool]:
    """The same where there is no statement for it."""
    admitted, missed = [], False
    with transaction.atomic(using):
        for key, prefix in keys:
            waiting = _line(kind, key, using)
            head = waiting.first()
            if head is None:
                continue
            allowed = _allowed(kind, head, prefix, using)
            has_number = {kind.key: key, f"{kind.number}__isnull": False}
            in_use = Job.objects.using(using).filter(**has_number)
            numbers = set(in_use.values_list(kind.number, flat=True))
            used, most = len(numbers), max(numbers, default=0)
            room = max(0, allowed - used)
            numbers |= _busy(kind, key, using)
            free = [number for number in range(1, allowed + 1) if number not in numbers]
            if most <= allowed:
                free.sort(key=lambda number: (key, number) not in own)
            first: list[UUID] = []
            for job in waiting[: min(room, len(free))]:
                if used + len(first) >= _allowed(kind, job, prefix, using):
                    break
                first.append(job.pk)
            rows = skipping_locked(_line(kind, key, using).filter(pk__in=first)) if first else []
            for job, number in zip(rows, free, strict=False):
                if number > _allowed(kind, job, prefix, using):
                    break
                if moved := _place(kind, job, number, using):
                    admitted.append(moved)
                    first.remove(job.pk)
            missed = missed or bool(first)
    return admitted, missed


def _place(kind: Kind, job: Job, number: int, using: str) -> Admitted | None:
    setattr(job, kind.number, number)
    needs_seat = kind is LANE and job.rate is not None
    job.waits_for = RATE.waits_for if needs_seat else ""
    job.state = State.BLOCKED if needs_seat else Transition.UNBLOCK.target
    names = (kind.number, "waits_for", "state")
    row = _line(kind, getattr(job, kind.key), using).filter(pk=job.pk)
    if not row.update(**{name: getattr(job, name) for name in names}, run_after=Now()):
        return None
    return Admitted(*(getattr(job, name) for name in Admitted._fields))


def _line(kind: Kind, key: str, using: str) -> QuerySet[Job]:
    """Those that wait for a number of a key, in their order; of a paused queue none but those that
    wait for their turn in a sequence.
    """
    rows = Job.objects.using(using).filter(**{"waits_for": kind.waits_for, kind.key: key})
    is_let_in = Q(~Exists(_pause_of_job(using)))
    if kind is LANE:
        is_let_in |= Q(lane_mode__in=sorted(IN_ORDER))
    return rows.filter(is_let_in).order_by(*LINE)


def _allowed(kind: Kind, head: Job, prefix: str, using: str) -> int:
    if kind is RATE:
        return head.starts or 0
    rows = LimitOverride.objects.using(using)
    overrides = dict(
        rows.filter(Q(key=head.lane, is_prefix=False) | Q(key=prefix, is_prefix=True))
        .values_list("is_prefix", "at_once")
    )  # fmt: skip
    if head.lane_mode in IN_ORDER:
        return min(1, overrides.get(False, 1))
    return overrides.get(False, overrides.get(True, head.at_once or 0))


def _busy(kind: Kind, key: str, using: str) -> set[int]:
    if kind is LANE:
        return set()
    seats = Seat.objects.using(using).filter(rate=key, free_at__gt=After(AHEAD))
    return set(seats.values_list("number", flat=True))


@retried
def skip_busy(job_ids: Collection[UUID], using: str) -> list[Job]:
    """Cancel those of these jobs that have no place and do not wait for one: see LaneMode.SKIP.

    To be called after admit(), which has let in those for whom a place was free. One that has begun
    before waits for its next attempt. Returns those that were cancelled.
    """
    outcome = outcome_of_busy()
    ended = {"finished_at": Now(), "dedup_slot": None, "waits_for": "", "place": None}
    values = {**ended, **outcome.error_columns, "state": outcome.state}
    holders = Job.objects.using(using).filter(lane=OuterRef("lane"), place__isnull=False)
    waiting = _impatient(using).filter(pk__in=job_ids).annotate(is_used=Exists(holders))
    # Asked again here: the last of those that had places may have gone since.
    busy = [
        job
        for job in waiting.only("lane", "lane_mode", "at_once", "batch")
        if job.is_used or not _allowed(LANE, job, prefix_of(job.lane or ""), using)
    ]
    if not busy:
        return []
    rows = _impatient(using).filter(pk__in=[job.pk for job in busy])
    return cancel_rows(rows, values, {job.batch for job in busy}, using)


def impatient_jobs(lanes: Collection[str], patience: float, using: str) -> list[UUID]:
    """The jobs of these lanes that skip_busy() is for, and that wait for longer than that.

    Not those of a paused queue, which had their places before.
    """
    rows = _impatient(using).filter(lane__in=lanes, enqueued_at__lt=After(-patience))
    rows = rows.exclude(Exists(_pause_of_job(using)))
    return list(rows.values_list("pk", flat=True)[:1000])


def _impatient(using: str) -> QuerySet[Job]:
    rows = Job.objects.using(using).filter(waits_for=WaitsFor.LANE, claims=0)
    return rows.filter(lane_mode=LaneMode.SKIP.value)


def _pause_of_job(using: str) -> QuerySet[QueuePause]:
    return QueuePause.objects.using(using).filter(
        queue=OuterRef("queue"), backend=OuterRef("backend")
    )


@retried
def take_places(queue: str, backend: str, using: str) -> list[Job]:
    """Let the queued jobs of a paused queue wait again, whose places and seats others can use
    meanwhile. Returns those that do. In a sequence they keep their places.
    """
    rows = Job.objects.using(using).filter(queue=queue, backend__in=stored_backends(backend))
    queued = rows.filter(state=State.QUEUED)
    waiting = rows.filter(Q(state=State.QUEUED) | Q(waits_for=RATE.waits_for))
    waits = {"seat": None, "state": Transition.BLOCK.target}
    of_limits = waiting.filter(place__isnull=False).exclude(lane_mode__in=sorted(IN_ORDER))
    of_rates = queued.filter(seat__isnull=False)
    jobs: list[Job] = []
    # A read first, for mostly there are none: on SQLite an update takes the write lock.
    if of_limits.exists():
        lost = {"place": None, "waits_for": LANE.waits_for}
        jobs += update_returning(of_limits, {**waits, **lost})
    if of_rates.exists():
        jobs += update_returning(of_rates, {**waits, "waits_for": RATE.waits_for})
    return jobs


def take_places_of_paused(using: str) -> None:
    """take_places() for all paused queues: of jobs that were let in, or queued again, meanwhile."""
    for queue, backend in list(QueuePause.objects.using(using).values_list("queue", "backend")):
        take_places(queue, backend, using)


def keys_of_queue(kind: Kind, queue: str, backend: str, using: str) -> dict[str, list[int]]:
    """The keys for which jobs of a queue wait, as admit() takes them."""
    rows = Job.objects.using(using).filter(waits_for=kind.waits_for, queue=queue)
    keys = rows.filter(backend__in=stored_backends(backend)).values_list(kind.key, flat=True)
    return {key: [] for key in keys.distinct()}


def keys_with_waiting(kind: Kind, after: str, limit: int, using: str) -> list[str]:
    """The next keys after this one for which jobs wait, in order; at most `limit`.

    A step through the index for each: DISTINCT would read all that waits.
    """
    table, code = Job._meta.db_table, kind.waits_for.value
    step = f"SELECT MIN({kind.key}) FROM {table} WHERE waits_for = '{code}' AND {kind.key} > "
    statement = f"""\
WITH RECURSIVE found(name, number) AS (
    SELECT ({step} %s), 1
    UNION ALL
    SELECT ({step} found.name), number + 1 FROM found WHERE name IS NOT NULL AND number < %s
)
SELECT name FROM found WHERE name IS NOT NULL"""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [after, limit])
        return [name for (name,) in cursor.fetchall()]
