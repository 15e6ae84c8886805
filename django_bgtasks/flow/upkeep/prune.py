"""Duty: release expired dedup windows, and delete what has served its time."""

from __future__ import annotations

from datetime import timedelta

from ...core.options import Options
from ...ledger import prune
from ...ledger.workers import prune_workers

WORKERS_KEPT = timedelta(days=1)


def tick(options: Options, alias: str) -> int:
    """One chunk of each kind. Returns how many rows were deleted; call again while there are."""
    prune.release_windows(alias)
    deleted = prune.prune_jobs(options.kept(), alias)
    deleted += prune.prune_records(alias)
    deleted += prune.prune_blobs(alias)
    return deleted + prune_workers(WORKERS_KEPT, alias)
