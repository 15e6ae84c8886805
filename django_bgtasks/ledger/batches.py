"""The batches of workflows: who waits for whom, when a batch is complete, and what it came to.

A job is released, or skipped, in the transaction that ends what it waits for. A batch is complete
when none of its jobs is live and none of its batches is open; whoever has ended one of them looks
for that after the commit, and the last one to commit sees all the others. What a crash leaves
between the two is found by a sweep. Rows are locked in one order: a running job's own row, batches
by their ids, which are lower nearer to the root, then waiting jobs.

`tests/model/batches.py` searches the interleavings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from ..core.faultpoints import fault_point
from ..core.flows import CALLBACKS, ON_SUCCESS, GateOn
from ..core.outcomes import outcome_of_gate
from ..core.states import LIVE, State, Transition, WaitsFor
from ..models import Batch, BatchOutcome, Job
from .admission import queued_or_blocked
from .connection import retried
from .release_rows import release_rows
from .returning import locked, skipping_locked, update_returning
from .statement_texts import RELEASED
from .statements import dialect_of
from .times import Now

T = TypeVar("T")
# What a job that is skipped has as the code of its error.
GATE_FAILED, GATE_PASSED = "gate_failed", "gate_passed"
SKIP_CODES = (GATE_FAILED, GATE_PASSED)
BLOCKED_AT_GATE = f"j.state = '{State.BLOCKED}' AND j.waits_for = '{WaitsFor.GATE}'"
SKIPPED = f"j.state = '{State.CANCELLED}' AND j.error_code IN {SKIP_CODES}"
# Rows in one statement, and steps in a row: MySQL ends a recursion after a thousand.
PAGE, ROUNDS = 1000, 900


def _runs(states: Collection[State]) -> Iterator[tuple[State, State]]:
    """The first and the last of each run of these states, in the order of an index of all."""
    for is_one, run in groupby(sorted(State), key=lambda state: state in states):
        if is_one:
            first, *rest = run
            yield first, [first, *rest][-1]


# Batches that are not finished, and have no live job and no open batch any more. The order is that
# of the index of a batch's jobs: without it PostgreSQL reads the table from its beginning, as it
# expects of many live jobs to find one soon.
COMPLETE = "".join((
    f"SELECT b.id FROM {Batch._meta.db_table} b",
    " WHERE b.finished_at IS NULL AND b.opened_at IS NOT NULL",
    f" AND NOT EXISTS (SELECT 1 FROM {Batch._meta.db_table} p",
    " WHERE p.parent = b.id AND p.finished_at IS NULL)",
    *(
        f" AND (SELECT 1 FROM {Job._meta.db_table} j WHERE j.batch = b.id"
        f" AND j.state BETWEEN '{first}' AND '{last}' ORDER BY j.state LIMIT 1) IS NULL"
        for first, last in _runs(LIVE)
    ),
))  # fmt: skip


class BatchBusyError(Exception):
    """Somebody has locked the row of the batch."""


@dataclass(slots=True)
class Effects:
    """What the end of jobs or of a batch has changed in their workflows.

    released: jobs that may begin, or wait for a place now. skipped: jobs that never will.
    batches: those that may be complete now.
    """

    released: list[Job] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    batches: set[UUID] = field(default_factory=set)

    def add(self, other: Effects) -> None:
        """Put those of another change to these."""
        self.released += other.released
        self.skipped += other.skipped
        self.batches |= other.batches


def release_steps(gates: Collection[UUID], ends: Collection[GateOn], using: str) -> Effects:
    """Let begin what waits for these ends of these jobs or batches, in the current transaction."""
    effects, opens = Effects(), GateOn.NEXT in ends
    names = sorted(map(str, ends))
    if (dialect := dialect_of(using)) is not None:
        opened, effects.released = release_rows(dialect, gates, names, using, opens)
        effects.batches |= set(opened)
        return effects
    closed = Batch.objects.using(using).filter(gate__in=gates, opened_at=None, finished_at=None)
    # Whoever adds to a batch has locked it, and may add another one: then once more.
    while opens and (batches := update_returning(closed, {"opened_at": Now()})):
        effects.batches |= {batch.pk for batch in batches}
    rows = _blocked(using).filter(gate__in=gates, gate_on__in=names)
    effects.released = update_returning(rows, _released(), RELEASED)
    return effects


def skip_steps(
    gates: Collection[UUID], ends: Collection[GateOn], using: str, code: str = GATE_FAILED
) -> list[Job]:
    """Cancel what waits for these ends of these jobs or batches, and all that waits for that, in
    the current transaction.
    """
    skipped: list[Job] = []
    frontier, ends = set(gates), set(ends)
    while frontier:
        batches = _skip_batches(frontier, using) if GateOn.NEXT in ends else set()
        jobs = _skip_jobs(frontier, ends, code, using)
        skipped += jobs
        # A batch that never opens has no callbacks either.
        frontier = batches | {job.pk for job in jobs if job.has_followers}
        ends = {GateOn.NEXT, *CALLBACKS}
    return skipped


def mark_failed(batches: Iterable[UUID], using: str) -> Effects:
    """Note that jobs of these batches have ended without success, in the current transaction.

    What is to run when a batch first fails is released.
    """
    effects = Effects()
    path = {one for batch in set(batches) for one in path_of(batch, using)}
    for batch_id in sorted(path):
        unmarked = Batch.objects.using(using).filter(pk=batch_id, failed_at=None)
        for batch in update_returning(unmarked, {"failed_at": Now()}):
            # One that has not begun may be skipped still, with its callbacks.
            if batch.cancelled_at is None and batch.opened_at is not None:
                effects.add(release_steps([batch.pk], {GateOn.FAILURE}, using))
    return effects


def skip_followers(jobs: Sequence[Job], using: str) -> list[Job]:
    """skip_steps() what waits for jobs that have ended without success."""
    leading = {job.pk for job in jobs if job.has_followers}
    return skip_steps(leading, {GateOn.NEXT}, using) if leading else []


def cancel_rows(
    rows: QuerySet[Job],
    values: dict[str, Any],
    batches: Iterable[UUID | None],
    using: str,
    patient: bool = False,
) -> list[Job]:
    """Write the end of waiting jobs, which are cancelled with these values, and what follows from
    it in their workflows. Returns them; the first one has the effects.

    batches: those whose jobs they are. patient: wait for who has locked them. Of more than one the
    others may be locked in another order: those that somebody has locked are left out.
    """
    known = {one for one in batches if one is not None}
    with transaction.atomic(using):
        lock_batches([one for batch in known for one in path_of(batch, using)], using)
        jobs = update_returning(rows if patient else locked(rows), values)
        if jobs and known:
            jobs[0].effects = end_unsuccessful(jobs, using)
        return jobs


def end_unsuccessful(jobs: Sequence[Job], using: str) -> Effects:
    """What follows from the end of jobs that have not succeeded, in the transaction of that."""
    effects = mark_failed({job.batch for job in jobs if job.batch is not None}, using)
    effects.skipped += skip_followers(jobs, using)
    return effects


def path_of(batch_id: UUID, using: str) -> list[UUID]:
    """A batch and those that it is a part of, up to the root."""
    path: list[UUID] = []
    next_one: UUID | None = batch_id
    while next_one is not None:
        path.append(next_one)
        rows = Batch.objects.using(using).filter(pk=next_one)
        next_one = rows.values_list("parent", flat=True).first()
    return path


def lock_batches(batches: Iterable[UUID], using: str) -> list[Batch]:
    """The rows of these batches, locked in the order of their ids."""
    ids = set(batches)
    rows = Batch.objects.using(using).filter(pk__in=ids).order_by("pk")
    return list(rows.select_for_update()) if ids else []


@retried
def find_complete(batches: Collection[UUID], using: str) -> list[UUID]:
    """Those of these batches that look complete, children before their parents."""
    return _look(batches, using)


@retried
@fault_point("finish")
def finish_batch(batch_id: UUID, using: str) -> Effects | None:
    """Finish a batch if it is complete, and release or skip what waits for it.

    None if it is not complete, or is finished. Raises BatchBusyError if somebody has locked it, who
    may be adding to it or finishing it: then look again.
    """
    with transaction.atomic(using):
        rows = Batch.objects.using(using).filter(pk=batch_id)
        found = list(skipping_locked(rows))
        if not found and rows.exists():
            raise BatchBusyError
        # In a statement of its own: whoever had the lock until then may have added a job.
        if not found or not _look([batch_id], using):
            return None
        [batch] = found
        outcome = _outcome_of(batch, using)
        total = Job.objects.using(using).filter(batch=batch_id).count()
        values = {"finished_at": Now(), "outcome": outcome, "total": total, "dedup_slot": None}
        Batch.objects.using(using).filter(pk=batch_id).update(**values)
        if outcome == BatchOutcome.SUCCEEDED:
            effects = release_steps([batch_id], {*ON_SUCCESS, GateOn.END}, using)
            effects.skipped = skip_steps([batch_id], {GateOn.FAILURE}, using, GATE_PASSED)
        else:
            has_failed = outcome == BatchOutcome.FAILED
            ends = {GateOn.END, GateOn.FAILURE} if has_failed else {GateOn.END}
            effects = release_steps([batch_id], ends, using)
            effects.skipped = skip_steps([batch_id], ON_SUCCESS, using)
            if not has_failed:
                effects.skipped += skip_steps([batch_id], {GateOn.FAILURE}, using, GATE_PASSED)
        if batch.parent is not None:
            effects.batches.add(batch.parent)
        return effects


def open_that_look_complete(after: UUID | None, limit: int, using: str) -> list[UUID]:
    """The next batches after this one that are complete and not finished, as after a crash."""
    statement = f"{COMPLETE} AND b.id > %s ORDER BY b.id LIMIT {limit}"
    return _ids(statement, [after or UUID(int=0)], using)


def _look(batches: Collection[UUID], using: str) -> list[UUID]:
    marks = ", ".join(["%s"] * len(batches))
    return _ids(f"{COMPLETE} AND b.id IN ({marks}) ORDER BY b.id DESC", batches, using)


def _ids(statement: str, params: Iterable[UUID], using: str) -> list[UUID]:
    """The ids that a statement of ours reads. The ORM would take longer than the database."""
    connection, key = connections[using], Batch._meta.get_field("id")
    with connection.cursor() as cursor:
        cursor.execute(statement, [key.get_db_prep_value(one, connection) for one in params])
        return [key.to_python(row[0]) for row in cursor.fetchall()]


def _outcome_of(batch: Batch, using: str) -> BatchOutcome:
    if batch.cancelled_at is not None:
        return BatchOutcome.CANCELLED
    if batch.failed_at is not None:
        # Who has failed may be deleted.
        return BatchOutcome.FAILED
    ended = Job.objects.using(using).filter(
        batch=batch.pk, state__in=(State.CANCELLED, State.FAILED)
    )
    parts = Batch.objects.using(using).filter(parent=batch.pk)
    # A callback for a failure that did not happen is none itself.
    has_failed = ended.exclude(error_code=GATE_PASSED).exists() or (
        parts.exclude(outcome=BatchOutcome.SUCCEEDED).exists()
    )
    return BatchOutcome.FAILED if has_failed else BatchOutcome.SUCCEEDED


def _blocked(using: str) -> QuerySet[Job]:
    return Job.objects.using(using).filter(state=State.BLOCKED, waits_for=WaitsFor.GATE)


def _released() -> dict[str, Any]:
    """It can run from now on, or from its time on, or waits for its place."""
    is_early = Q(run_after__gt=Now())
    values = queued_or_blocked()
    early = {"waits_for": Value(""), "state": Value(State.SCHEDULED)}
    cases = {
        name: Case(When(is_early, then=early[name]), default=value)
        for name, value in values.items()
    }
    return {**cases, "run_after": Case(When(is_early, then=F("run_after")), default=Now())}


def _skip_batches(gates: Collection[UUID], using: str) -> set[UUID]:
    skipped: set[UUID] = set()
    values = {"finished_at": Now(), "outcome": BatchOutcome.SKIPPED, "dedup_slot": None}
    for page in pages(gates):
        closed = Batch.objects.using(using).filter(gate__in=page, opened_at=None, finished_at=None)
        # As in release_steps(): one may be added meanwhile.
        while found := update_returning(closed, values):
            skipped |= {batch.pk for batch in found}
    return skipped


def _skip_jobs(
    gates: Collection[UUID], ends: Collection[GateOn], code: str, using: str
) -> list[Job]:
    """Those that wait for these, and the jobs of chains behind them."""
    values = {
        **outcome_of_gate(code == GATE_FAILED).error_columns,
        "state": Transition.SKIP.target,
        "waits_for": "",
        "finished_at": Now(),
        "dedup_slot": None,
    }
    skipped: list[Job] = []
    for page in pages(gates):
        ids = find_behind(page, BLOCKED_AT_GATE, ends, using)
        for some in pages(ids):
            skipped += update_returning(_blocked(using).filter(pk__in=some), values)
    return skipped


def find_behind(
    gates: Sequence[UUID], condition: str, ends: Collection[GateOn], using: str
) -> list[UUID]:
    """The jobs that wait for these ends, and those behind them, of which the condition holds.

    In one statement for ROUNDS steps in a row: a chain may have thousands.
    """
    found: list[UUID] = []
    rest, names = list(gates), sorted(map(str, ends))
    while rest:
        rows = _find_behind(rest, condition, names, using)
        found += [job_id for job_id, _depth in rows]
        rest, names = [job_id for job_id, depth in rows if depth == ROUNDS], [str(GateOn.NEXT)]
    return found


def _find_behind(
    gates: Sequence[UUID], condition: str, names: Sequence[str], using: str
) -> list[tuple[UUID, int]]:
    table, gate = Job._meta.db_table, Job._meta.get_field("gate")
    marks, of_ends = (", ".join(["%s"] * len(values)) for values in (gates, names))
    statement = f"""\
WITH RECURSIVE found(id, depth) AS (
    SELECT j.id, 1 FROM {table} j
    WHERE j.gate IN ({marks}) AND j.gate_on IN ({of_ends}) AND {condition}
    UNION ALL
    SELECT j.id, found.depth + 1 FROM found JOIN {table} j ON j.gate = found.id
    WHERE {condition} AND found.depth < {ROUNDS}
)
SELECT id, depth FROM found"""
    connection = connections[using]
    params = [gate.get_db_prep_value(one, connection) for one in gates]
    rows = Job.objects.using(using).raw(statement, [*params, *names])
    return [(job.pk, vars(job)["depth"]) for job in rows]


def pages(values: Iterable[T]) -> Iterator[list[T]]:
    """These values, as many at a time as one statement takes."""
    rest = list(values)
    for start in range(0, len(rest), PAGE):
        yield rest[start : start + PAGE]
