"""Maintenance task: release expired dedup windows, and delete what has served its time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from ...core import clock
from ...core.options import backend_settings, entries, stored_backends
from ...idempotency import records
from ...ledger import prune
from ...ledger.history import prune_history
from ...ledger.workers import prune_workers
from .rest import rest_after

WORKERS_KEPT, HISTORY_KEPT = timedelta(days=1), timedelta(days=90)
# A batch without jobs.
BATCHES_KEPT = timedelta(days=7)
EVERY, LONGEST_REST = 60.0, 600.0


def run_once(using: str, backends: Iterable[str] | None = None) -> int:
    """One chunk of each kind. Returns how many rows were deleted; call again while there are.

    backends: whose jobs, each by its own days; default: those of TASKS. The jobs of others stay:
    nobody here knows for how long.
    """
    prune.release_windows(using)
    deleted = 0
    for backend in entries() if backends is None else backends:
        ages = backend_settings(backend).options.retention()
        deleted += prune.prune_jobs(ages, stored_backends(backend), using)
    deleted += records.prune(using)
    deleted += prune.prune_blobs(using)
    deleted += prune.prune_seats(using)
    deleted += prune.prune_batches(BATCHES_KEPT, using)
    deleted += prune_history(HISTORY_KEPT, using)
    return deleted + prune_workers(WORKERS_KEPT, using)


def run_unhurried(using: str) -> float:
    """Delete one chunk. Returns the seconds to wait until the next run."""
    start = clock.monotonic()
    if run_once(using):
        return 0.5
    # What another backend keeps for long is looked through, and found too young, each time.
    return rest_after(start, EVERY, LONGEST_REST)
