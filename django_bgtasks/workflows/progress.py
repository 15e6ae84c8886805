"""How far a workflow is: its jobs by their states."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet, Sum
from django.db.models.expressions import RawSQL

from ..core.states import FINAL, State
from ..ledger.statements import uuid_of
from ..models import Batch, Job


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """The jobs of a batch and of all its parts, counted by their states.

    outcome: "" while it is open.
    """

    states: Mapping[str, int]
    total: int
    outcome: str = ""

    @property
    def done(self) -> int:
        """How many have ended, in whatever way."""
        return self.total - sum(count for state, count in self.states.items() if state not in FINAL)

    @property
    def succeeded(self) -> int:
        """How many have succeeded."""
        return self.states.get(State.SUCCEEDED, 0)

    @property
    def failed(self) -> int:
        """How many have failed for good."""
        return self.states.get(State.FAILED, 0)

    def as_dict(self) -> dict[str, Any]:
        """As the progress of a job is given."""
        return {"done": self.done, "total": self.total, "message": ""}


def progress_of_batch(batch: Batch, using: str) -> BatchProgress:
    """Count the jobs of a batch and of its parts. Those that are pruned count as done."""
    return progress_of_batches([batch], using)[batch.pk]


def progress_of_batches(batches: Collection[Batch], using: str) -> dict[UUID, BatchProgress]:
    """progress_of_batch() of each of these, in two statements at most."""
    tops = [batch.pk for batch in batches]
    totals = _totals([batch.pk for batch in batches if batch.finished_at is not None], using)
    counts = count_states(tops, using)
    found = {}
    for batch in batches:
        states = counts.get(batch.pk, {})
        total = max(sum(states.values()), totals.get(batch.pk, 0))
        found[batch.pk] = BatchProgress(states, total, batch.outcome)
    return found


def count_states(tops: Collection[UUID], using: str) -> dict[UUID, dict[str, int]]:
    """For each of these batches how many jobs of it and of its parts are in each state.

    The database counts them by an index: no job is read.
    """
    statement = f"""\
{with_parts(len(tops))}
SELECT part.top, j.state, COUNT(*)
FROM part JOIN {Job._meta.db_table} j ON j.batch = part.id
GROUP BY part.top, j.state"""
    found: dict[UUID, dict[str, int]] = {}
    for top, state, count in _rows(statement, tops, using):
        found.setdefault(top, {})[state] = count
    return found


def parts_of(batch: Batch, using: str) -> QuerySet[Batch, UUID] | RawSQL:
    """The ids of a batch and of all that are a part of it, for a condition with `in`."""
    if batch.root == batch.pk:
        return Batch.objects.using(using).filter(root=batch.pk).values_list("pk", flat=True)
    return RawSQL(f"{with_parts(1)} SELECT part.id FROM part", stored_ids([batch.pk], using))


def with_parts(count: int) -> str:
    """The beginning of a statement with a table `part` of all that are a part of `count` batches,
    and themselves: `id`, and the one of which it is a part, `top`. The parameters are their ids.
    """
    table, marks = Batch._meta.db_table, ", ".join(["%s"] * count)
    return f"""\
WITH RECURSIVE part(top, id) AS (
    SELECT b.id, b.id FROM {table} b WHERE b.id IN ({marks})
    UNION ALL
    SELECT part.top, b.id FROM part JOIN {table} b ON b.parent = part.id
)"""


def stored_ids(ids: Collection[UUID], using: str) -> list[Any]:
    """These ids as parameters of a statement."""
    field: Any = Batch._meta.pk
    return [field.get_db_prep_value(one, connections[using]) for one in ids]


def _totals(finished: Collection[UUID], using: str) -> dict[UUID, int]:
    """How many jobs each of these batches had, with its parts, some of which may be pruned."""
    if not finished:
        return {}
    roots = Batch.objects.using(using).filter(root__in=finished).order_by()
    found: dict[UUID, int] = dict(roots.values_list("root").annotate(Sum("total")))
    rest = [one for one in finished if one not in found]
    if not rest:
        return found
    statement = f"""\
{with_parts(len(rest))}
SELECT part.top, '', SUM(b.total) FROM part JOIN {Batch._meta.db_table} b ON b.id = part.id
GROUP BY part.top"""
    return {**found, **{top: int(total) for top, _name, total in _rows(statement, rest, using)}}


def _rows(statement: str, tops: Collection[UUID], using: str) -> list[tuple[UUID, str, Any]]:
    if not tops:
        return []
    with connections[using].cursor() as cursor:
        cursor.execute(statement, stored_ids(tops, using))
        rows = cursor.fetchall()
    return [(uuid_of(top), name, value) for top, name, value in rows]
