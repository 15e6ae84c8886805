"""Paused queues: the database says which, so that no worker needs Redis to hear of it."""

from __future__ import annotations

from typing import Any

from ..core.options import stored_backends
from ..models import QueuePause
from .outages import retried
from .times import Now


@retried
def pause(queue: str, backend: str, by: str, using: str) -> QueuePause | None:
    """Pause a queue; None if it was paused before."""
    if queue in paused(backend, using):
        return None
    rows = QueuePause.objects.using(using)
    row, made = rows.get_or_create(
        backend=backend, queue=queue, defaults={"paused_at": Now(), "by": by[:150]}
    )
    return row if made else None


@retried
def resume(queue: str, backend: str, using: str) -> QueuePause | None:
    """Let a queue go on; None if it was not paused."""
    rows = _of(backend, using).filter(queue=queue)
    row = rows.first()
    return row if row is not None and rows._raw_delete(using) else None


def paused(backend: str, using: str) -> frozenset[str]:
    """The queues of this backend that are paused."""
    return frozenset(_of(backend, using).values_list("queue", flat=True))


def _of(backend: str, using: str) -> Any:
    return QueuePause.objects.using(using).filter(backend__in=stored_backends(backend))
