"""Which queues have work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from ..core.states import State
from ..models import Job


def with_queued_jobs(backend: str, alias: str) -> list[str]:
    """The names of the queues in which jobs of this backend are queued."""
    queued = Job.objects.using(alias).filter(state=State.QUEUED, backend=backend)
    return list(queued.order_by("queue").values_list("queue", flat=True).distinct())


def queued_jobs(backend: str, alias: str, only: Sequence[UUID] | None = None) -> Iterator[Job]:
    """The queued jobs of this backend, with what a message needs of them; one page at a time."""
    queued = Job.objects.using(alias).filter(state=State.QUEUED, backend=backend)
    if only is not None:
        queued = queued.filter(pk__in=list(only))
    rows = queued.only("id", "queue", "priority", "task", "state", "backend").order_by()
    return rows.iterator(chunk_size=2000)
