"""A workflow as a tree, and what is around a job or a batch in it: page by page, whatever its size.

Each question is a fixed number of statements, which read no more rows than they return; how many
jobs are in which state the database counts by an index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Case, Q, QuerySet, Value, When

from ..core.errors import InvalidArguments
from ..core.states import State
from ..ledger.batches import GATE_FAILED, GATE_PASSED
from ..models import Batch, BatchKind, BatchOutcome, Job
from ..workflows.progress import BatchProgress, progress_of_batches, stored_ids, with_parts

# Elements on a page; of a part with so few jobs they are in its parent's page too.
TREE_PAGE, SMALL = 50, 10
# So many rows of such parts, and so many steps at once to what a skipped job has waited for.
INNER, STEPS = 1000, 500
LARGE_FIELDS = ("args", "kwargs", "carried", "result")
TROUBLED = (BatchOutcome.FAILED, BatchOutcome.CANCELLED)
FAILED_COLUMNS = (
    *("id", "task", "label", "queue", "backend", "state", "attempt", "max_attempts", "batch"),
    *("error", "error_code", "error_params", "started_at", "finished_at", "waits_for", "gate"),
    *("gate_on", "held_reason", "place", "lane", "lane_mode", "rate", "run_after", "retry"),
)


@dataclass(slots=True)
class TreeNode:
    """An element of a batch: a job, or another batch with its progress.

    nodes: its elements, if there are few; is_cut: whether there are others.
    """

    row: Job | Batch
    progress: BatchProgress | None = None
    nodes: list[TreeNode] = field(default_factory=list)
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class TreePage:
    """Some elements of a batch. before, after: where the pages beside it begin; "" for none.

    progress: of all of the batch.
    """

    nodes: Sequence[TreeNode]
    progress: BatchProgress
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is around a job or a batch in its workflow.

    root and parent: batches. gate: what it waits for, or has waited for. followers: what waits for
    it, callbacks too.
    """

    root: Batch | None
    parent: Batch | None
    gate: Job | Batch | None
    followers: Sequence[Job | Batch]


def tree_page(batch: Batch, using: str, after: str = "", before: str = "") -> TreePage:
    """Elements of this batch after, or before, a place in it. Five statements.

    Those of a chain are in their order; of a group those come first that have failed. Raises
    InvalidArguments for what is no place.
    """
    key = _key_of(after or before) if after or before else None
    is_back = bool(before and not after)
    jobs = Job.objects.using(using).filter(batch=batch.pk).defer(*LARGE_FIELDS)
    parts = Batch.objects.using(using).filter(parent=batch.pk)
    has_order = batch.kind == BatchKind.CHAIN
    job_ranks = Value(0) if has_order else _rank_of_jobs()
    part_ranks = Value(0) if has_order else _rank_of_batches()
    found: list[Any] = [
        *_beside(jobs, job_ranks, key, is_back),
        *_beside(parts, part_ranks, key, is_back),
    ]
    found.sort(key=_place_of, reverse=is_back)
    is_more, found = len(found) > TREE_PAGE, found[:TREE_PAGE]
    found = found[::-1] if is_back else found
    nodes = [TreeNode(row) for row in found]
    of_page = [node for node in nodes if isinstance(node.row, Batch)]
    counts = progress_of_batches([batch, *(row for row in found if isinstance(row, Batch))], using)
    for node in of_page:
        node.progress = counts[node.row.pk]
    _fill(of_page, using)
    has_after, has_before = (True, is_more) if is_back else (is_more, key is not None)
    return TreePage(
        nodes,
        counts[batch.pk],
        _place(found[0]) if found and has_before else "",
        _place(found[-1]) if found and has_after else "",
    )


def failed_jobs(batch: Batch, limit: int, using: str) -> list[Job]:
    """The first jobs of a batch and of its parts that have failed."""
    columns = ", ".join(f"j.{connections[using].ops.quote_name(name)}" for name in FAILED_COLUMNS)
    statement = f"""\
{with_parts(1)}
SELECT {columns} FROM part JOIN {Job._meta.db_table} j ON j.batch = part.id
WHERE j.state = '{State.FAILED}' ORDER BY j.id LIMIT {limit}"""
    return list(Job.objects.using(using).raw(statement, stored_ids([batch.pk], using)))


def around_batch(batch: Batch, using: str) -> Surroundings:
    """What is around a batch. Two statements."""
    return _around(batch.pk, batch.root, batch.parent, batch.gate, using)


def around_job(job: Job, using: str) -> Surroundings:
    """What is around a job of a workflow. Two statements, and one for the root of a part."""
    found = _around(job.pk, None, job.batch, job.gate, using)
    nearest = found.parent or (found.gate if isinstance(found.gate, Batch) else None)
    if nearest is None or nearest.root == nearest.pk:
        return Surroundings(nearest, found.parent, found.gate, found.followers)
    root = Batch.objects.using(using).filter(pk=nearest.root).first()
    return Surroundings(root, found.parent, found.gate, found.followers)


def cause_of_skip(gate: UUID, using: str) -> Job | Batch | None:
    """What had not succeeded, that was waited for and for which others behind it were skipped.

    gate: what one of these has waited for. A job, if it is known; else a batch; None if it is gone.
    """
    next_one: UUID | None = gate
    for _ in range(STEPS):
        if next_one is None:
            return None
        batch = Batch.objects.using(using).filter(pk=next_one).first()
        if batch is not None and batch.outcome != BatchOutcome.SKIPPED:
            return next(iter(failed_jobs(batch, 1, using)), batch)
        if batch is not None:
            next_one = batch.gate
            continue
        job, next_one = _first_skipped(next_one, using)
        if job is None or job.error_code != GATE_FAILED:
            return job
    return None


def _around(
    pk: UUID, root: UUID | None, parent: UUID | None, gate: UUID | None, using: str
) -> Surroundings:
    # What follows is in the same batch: the members of a batch that waits have its gate too.
    in_same = {"batch": parent} if parent else {"batch__isnull": True}
    part_of_same = {"parent": parent} if parent else {"parent__isnull": True}
    of_gate = Q(gate=pk) & Q(**part_of_same)
    batches = {
        row.pk: row
        for row in Batch.objects.using(using).filter(
            Q(pk__in=[one for one in (root, parent, gate) if one]) | of_gate
        ).order_by()
    }  # fmt: skip
    near = Q(gate=pk) & Q(**in_same)
    if gate is not None and gate not in batches:
        near |= Q(pk=gate)
    rows = Job.objects.using(using).filter(near).defer(*LARGE_FIELDS).order_by()
    jobs = {row.pk: row for row in rows[:TREE_PAGE]}
    followers: list[Job | Batch] = [
        *(row for row in batches.values() if row.gate == pk),
        *(row for row in jobs.values() if row.gate == pk),
    ]
    return Surroundings(
        batches.get(root) if root else None,
        batches.get(parent) if parent else None,
        (batches.get(gate) or jobs.get(gate)) if gate else None,
        sorted(followers, key=lambda row: row.pk),
    )


def _first_skipped(job_id: UUID, using: str) -> tuple[Job | None, UUID | None]:
    """The first of the skipped jobs before this one, or the one for which they were skipped.

    Returns what it has waited for, too.
    """
    table = Job._meta.db_table
    skipped = f"CASE WHEN j.error_code = '{GATE_FAILED}' THEN 1 ELSE 0 END"
    statement = f"""\
WITH RECURSIVE behind(id, gate, skipped, depth) AS (
    SELECT j.id, j.gate, {skipped}, 0 FROM {table} j WHERE j.id = %s
    UNION ALL
    SELECT j.id, j.gate, {skipped}, behind.depth + 1
    FROM behind JOIN {table} j ON j.id = behind.gate
    WHERE behind.skipped = 1 AND behind.depth < {STEPS}
)
SELECT id FROM behind ORDER BY depth DESC LIMIT 1"""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, stored_ids([job_id], using))
        found = cursor.fetchone()
    rows = Job.objects.using(using).defer(*LARGE_FIELDS)
    job = rows.filter(pk=found[0]).first() if found else None
    return job, job.gate if job else None


def _fill(nodes: Iterable[TreeNode], using: str) -> None:
    """Give those with few jobs their elements. Two statements."""
    small: dict[UUID, TreeNode] = {}
    for node in nodes:
        node.is_cut = node.progress is None or node.progress.total > SMALL
        if not node.is_cut:
            small[node.row.pk] = node
    if not small:
        return
    statement = f"""\
{with_parts(len(small))}
SELECT b.* FROM part JOIN {Batch._meta.db_table} b ON b.id = part.id
WHERE b.id <> part.top ORDER BY b.id LIMIT {INNER}"""
    rows = Batch.objects.using(using).raw(statement, stored_ids(list(small), using))
    known: dict[UUID | None, TreeNode] = dict(small.items())
    # Parents have lower ids than what is a part of them.
    for row in rows:
        known[row.pk] = TreeNode(row)
        if row.parent in known:
            known[row.parent].nodes.append(known[row.pk])
    jobs = Job.objects.using(using).filter(batch__in=list(known)).defer(*LARGE_FIELDS)
    for job in jobs.order_by("pk")[:INNER]:
        known[job.batch].nodes.append(TreeNode(job))
    for node in small.values():
        _sum_up(node)


def _sum_up(node: TreeNode) -> Counter[str]:
    """Sort the elements of a node, and count the jobs of the batches among them."""
    node.nodes.sort(key=lambda one: one.row.pk)
    states: Counter[str] = Counter()
    for one in node.nodes:
        states += Counter([one.row.state]) if isinstance(one.row, Job) else _sum_up(one)
    if node.progress is None and isinstance(node.row, Batch):
        total = max(states.total(), node.row.total)
        node.progress = BatchProgress(states, total, node.row.outcome)
    return states


def _beside(rows: QuerySet[Any], rank: Any, key: tuple[int, UUID] | None, is_back: bool) -> Any:
    """The next rows of a page in their order, and one more."""
    rows = rows.annotate(rank=rank)
    if key is not None:
        number, pk = key
        same, other = ("pk__lt", "rank__lt") if is_back else ("pk__gt", "rank__gt")
        rows = rows.filter(Q(rank=number, **{same: pk}) | Q(**{other: number}))
    order = ("-rank", "-pk") if is_back else ("rank", "pk")
    return rows.order_by(*order)[: TREE_PAGE + 1]


def _rank_of_jobs() -> Case:
    """Failed ones come first, then those that were cancelled or skipped."""
    return Case(
        When(state=State.FAILED, then=Value(0)),
        When(Q(state=State.CANCELLED) & ~Q(error_code=GATE_PASSED), then=Value(1)),
        default=Value(2),
    )


def _rank_of_batches() -> Case:
    is_troubled = Q(outcome__in=TROUBLED) | Q(failed_at__isnull=False)
    return Case(When(is_troubled, then=Value(0)), default=Value(2))


def _place_of(row: Any) -> tuple[int, UUID]:
    return row.rank, row.pk


def _place(row: Any) -> str:
    return f"{row.rank}.{row.pk.hex}"


def _key_of(place: str) -> tuple[int, UUID]:
    rank, _dot, pk = place.partition(".")
    try:
        return int(rank[:1]), UUID(pk)
    except ValueError:
        raise InvalidArguments(f"{place!r} is no place in a batch.") from None
