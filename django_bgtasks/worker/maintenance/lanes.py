"""Maintenance task: give the free places of limits and sequences to those that wait."""

from __future__ import annotations

from ...core import clock
from ...jobs.waiting import admit_waiting
from .rest import rest_after

EVERY = 5.0


def run_once(using: str) -> float:
    """Look through all lanes in which jobs wait. Returns the seconds until the next look."""
    start = clock.monotonic()
    admit_waiting(using)
    return rest_after(start, EVERY)
