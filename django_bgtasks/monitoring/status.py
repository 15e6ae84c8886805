"""How a backend stands, for the site's own code: the figures of the dashboard, as plain values.

Each function asks the database only, raises what that raises, and takes `backend`, an alias in
TASKS, by default the one of a task that names none. ImproperlyConfigured if TASKS does not have it.
"""

from __future__ import annotations

from ..core.options import default_backend
from ..ledger.lifecycle import ledger_database
from . import queries
from .snapshot import Snapshot, WorkerSnapshot, queued_depths, take_workers_snapshot


def workers(backend: str | None = None) -> tuple[WorkerSnapshot, ...]:
    """The workers that have not stopped, without those that were lost more than an hour ago.

    `health` is "alive", "late" or "lost"; `seen` and `started` are seconds ago. `job_processes` is
    empty: what Redis shows of them is in `bgstatus`. Three statements.
    """
    return _snapshot(backend).workers


def is_served(queue: str = "default", backend: str | None = None) -> bool:
    """Whether a job of this queue would be run: a live worker takes its jobs, or they run inline.

    A queue that is paused counts as served. Four statements.
    """
    snapshot = _snapshot(backend)
    return snapshot.inline or bool(snapshot.serving(queue))


def queue_depths(backend: str | None = None) -> dict[str, int]:
    """For each queue how many jobs are queued: they could run now, and have not begun.

    Jobs for later are not counted, nor those that run. One statement.
    """
    depths = queued_depths(backend or default_backend(), ledger_database())
    return {queue: depth.number for queue, depth in depths.items()}


def oldest_age(queue: str = "default", backend: str | None = None) -> float | None:
    """For how many seconds the first of the queued jobs of this queue has waited.

    Measured by the database's clock, from the moment at which it could have run. None if no job is
    queued there. One statement.
    """
    depth = queued_depths(backend or default_backend(), ledger_database()).get(queue)
    return depth.oldest if depth is not None and depth.number else None


def _snapshot(backend: str | None) -> Snapshot:
    backend, using = backend or default_backend(), ledger_database()
    return take_workers_snapshot(backend, using, busy_queues=queries.busy_queues(backend, using))
