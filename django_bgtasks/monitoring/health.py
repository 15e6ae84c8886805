"""Whether a worker lives: one judgement for the dashboard, the admin, commands and exporters."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Q
from django.db.models.functions import Coalesce

from ..core.options import stored_backends
from ..ledger.identity import ledger_database
from ..ledger.times import Now, SecondsBetween, after
from ..models import Worker


class WorkerHealth(StrEnum):
    """late: silent for longer than its `dead_after`, and not yet called dead by maintenance."""

    ALIVE = "alive"
    LATE = "late"
    STOPPED = "stopped"
    LOST = "lost"


def worker_health(worker: Any) -> WorkerHealth:
    """The health of a row that has `seen`, the seconds since its last heartbeat."""
    if worker.stopped_at is not None:
        return WorkerHealth.STOPPED
    if worker.lost_at is not None:
        return WorkerHealth.LOST
    return WorkerHealth.ALIVE if worker.seen <= worker.dead_after else WorkerHealth.LATE


def workers_of(backend: str, lost_since: timedelta, using: str) -> list[Any]:
    """The workers that have not stopped, without those that were lost longer ago.

    Each with the seconds since it was `seen` and since it `started`.
    """
    rows: Any = Worker.objects.using(using).filter(
        Q(lost_at=None) | Q(lost_at__gte=after(-lost_since)),
        backend__in=stored_backends(backend),
        stopped_at=None,
    )
    rows = rows.annotate(seen=seconds_since("last_seen_at"), started=seconds_since("started_at"))
    return list(rows.order_by("hostname", "started_at"))


def is_any_worker_alive() -> bool:
    """Whether a worker of any backend lives. The table of workers is small."""
    rows = Worker.objects.using(ledger_database()).filter(stopped_at=None, lost_at=None)
    found: Any = rows.annotate(seen=seconds_since("last_seen_at"))
    return any(worker_health(worker) is WorkerHealth.ALIVE for worker in found)


def seconds_since(moment: str) -> Coalesce:
    """Of a time that each row has: 0 where SQLite cannot tell, at the end of its calendar."""
    return Coalesce(SecondsBetween(moment, Now()), 0.0)
