"""Paused queues: the database says which, so that no worker needs Redis to hear of it."""

from __future__ import annotations

from ..models import QueuePause
from .outages import retried
from .times import Now


@retried
def pause(queue: str, backend: str, by: str, alias: str) -> QueuePause | None:
    """Pause a queue; None if it was paused before."""
    rows = QueuePause.objects.using(alias)
    row, made = rows.get_or_create(
        backend=backend, queue=queue, defaults={"paused_at": Now(), "by": by[:150]}
    )
    return row if made else None


@retried
def resume(queue: str, backend: str, alias: str) -> QueuePause | None:
    """Let a queue go on; None if it was not paused."""
    row = QueuePause.objects.using(alias).filter(backend=backend, queue=queue).first()
    if row is None or not QueuePause.objects.using(alias).filter(pk=row.pk)._raw_delete(alias):
        return None
    return row


def paused(backend: str, alias: str) -> frozenset[str]:
    """The queues of this backend that are paused."""
    rows = QueuePause.objects.using(alias).filter(backend=backend)
    return frozenset(rows.values_list("queue", flat=True))
