"""Duty: release expired dedup windows, and delete what has served its time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from ...core.options import aliases_of, backend_settings, entries
from ...ledger import prune
from ...ledger.workers import prune_workers

WORKERS_KEPT = timedelta(days=1)
# A look that finds nothing may take this share of one core.
SHARE = 0.02


def tick(alias: str, backends: Iterable[str] | None = None) -> int:
    """One chunk of each kind. Returns how many rows were deleted; call again while there are.

    backends: whose jobs, each by its own days; default: those of TASKS. The jobs of others stay:
    nobody here knows for how long.
    """
    prune.release_windows(alias)
    deleted = 0
    for backend in entries() if backends is None else backends:
        kept = backend_settings(backend).options.kept()
        deleted += prune.prune_jobs(kept, aliases_of(backend), alias)
    deleted += prune.prune_records(alias)
    deleted += prune.prune_blobs(alias)
    return deleted + prune_workers(WORKERS_KEPT, alias)
