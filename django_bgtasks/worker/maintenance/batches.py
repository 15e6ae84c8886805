"""Maintenance task: finish the batches of workflows whose jobs have all ended."""

from __future__ import annotations

from ...core import clock
from ...workflows.followers import sweep
from .rest import rest_after

EVERY = 5.0


def run_once(using: str) -> float:
    """Do what a crash has left undone. Returns the seconds until the next look."""
    start = clock.monotonic()
    sweep(using)
    return rest_after(start, EVERY)
