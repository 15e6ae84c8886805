"""Which queues have work, and which are paused.

The database says which are paused, so that no worker needs Redis to hear of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from ..core.options import stored_backends
from ..core.states import State
from ..models import Job, QueuePause
from .connection import retried
from .expiry import not_expired
from .pooler import is_pooled
from .times import Now


def with_queued_jobs(backend: str, using: str) -> list[str]:
    """The names of the queues in which jobs of this backend are queued, in order.

    A step through the index for each name: DISTINCT would read all that waits.
    """
    names = _queued(backend, using).order_by("queue").values_list("queue", flat=True)
    found: list[str] = []
    name = names.first()
    while name is not None:
        found.append(name)
        name = names.filter(queue__gt=name).first()
    return found


def queued_jobs(
    backend: str, using: str, only: Collection[UUID] | None = None
) -> Iterator[tuple[UUID, str, int, str]]:
    """Id, queue, priority and task of the queued jobs of this backend; one page at a time."""
    queued = _queued(backend, using)
    if only is not None:
        queued = queued.filter(pk__in=only)
    rows = queued.order_by().values_list("id", "queue", "priority", "task")
    # Pages need a cursor of the server's session, which behind a pooler is another one each time.
    connection = connections[using]
    connection.ensure_connection()
    return iter(rows) if is_pooled(connection) else rows.iterator(chunk_size=2000)


def without_claim(job_ids: Sequence[UUID], using: str) -> list[UUID]:
    """Those of these jobs that are there to be claimed by now, or have no row that others see."""
    rows = Job.objects.using(using).filter(pk__in=job_ids)
    rows = rows.exclude(not_expired(), state=State.QUEUED)
    others = set(rows.values_list("pk", flat=True))
    return [job_id for job_id in job_ids if job_id not in others]


@retried
def pause(queue: str, backend: str, by: str, using: str) -> QueuePause | None:
    """Pause a queue; None if it was paused before."""
    if queue in paused(backend, using):
        return None
    rows = QueuePause.objects.using(using)
    row, is_new = rows.get_or_create(
        backend=backend, queue=queue, defaults={"paused_at": Now(), "by": by[:150]}
    )
    return row if is_new else None


@retried
def resume(queue: str, backend: str, using: str) -> QueuePause | None:
    """Let a queue go on; None if it was not paused."""
    rows = _pauses(backend, using).filter(queue=queue)
    row = rows.first()
    return row if row is not None and rows._raw_delete(using) else None


def paused(backend: str, using: str) -> frozenset[str]:
    """The queues of this backend that are paused."""
    return frozenset(_pauses(backend, using).values_list("queue", flat=True))


def paused_by(backend: str, using: str) -> dict[str, str]:
    """Who paused each of the queues that are paused; empty where nobody said so."""
    return dict(_pauses(backend, using).values_list("queue", "by"))


def _queued(backend: str, using: str) -> QuerySet[Job]:
    backends = stored_backends(backend)
    return Job.objects.using(using).filter(state=State.QUEUED, backend__in=backends)


def _pauses(backend: str, using: str) -> Any:
    return QueuePause.objects.using(using).filter(backend__in=stored_backends(backend))
