"""How far a workflow is: its jobs by their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Sum

from ..core.states import FINAL, State
from ..ledger.batch_moves import subtree_of
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
    parts = parts_of(batch, using)
    jobs = Job.objects.using(using).filter(batch__in=parts).order_by()
    states = dict(jobs.values_list("state").annotate(Count("pk")))
    total = sum(states.values())
    if batch.finished_at is not None:
        rows = Batch.objects.using(using).filter(pk__in=parts)
        total = max(total, rows.aggregate(Sum("total"))["total__sum"] or 0)
    return BatchProgress(states, total, batch.outcome)


def parts_of(batch: Batch, using: str) -> QuerySet[Batch, UUID] | list[UUID]:
    """The ids of a batch and of all that are a part of it, for a condition."""
    if batch.root == batch.pk:
        return Batch.objects.using(using).filter(root=batch.pk).values_list("pk", flat=True)
    return subtree_of(batch.pk, using)
