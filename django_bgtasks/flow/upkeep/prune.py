"""Duty: release expired dedup windows, and delete what has served its time."""

from __future__ import annotations

from datetime import timedelta

from ...core.options import Options
from ...ledger import prune
from ...ledger.workers import prune_workers

WORKERS_KEPT = timedelta(days=1)
# A failed job that is retried by hand on its last day still needs its blob.
LONGER = timedelta(days=30)


def tick(options: Options, alias: str) -> int:
    """One chunk of each kind. Returns how many rows were deleted; call again while there are."""
    prune.release_windows(alias)
    deleted = prune.prune_jobs(options.kept(), alias)
    deleted += prune.prune_records(alias)
    deleted += prune.prune_blobs(max(options.kept().values()) + LONGER, alias)
    return deleted + prune_workers(WORKERS_KEPT, alias)
