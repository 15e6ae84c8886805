"""Maintenance task: let in the jobs that wait for the next start of their rate."""

from __future__ import annotations

from ...core import clock
from ...jobs.waiting import start_rated

EVERY = 1.0
# A seat that is taken meanwhile may be free sooner than those that were known.
SHORTEST = 0.01
# With many keys a look takes long: it rests so many times as long, that it may not take a core. It
# rests less the more it has let in: that has taken its time, and the others are waited for.
REST = 4


def run_once(using: str) -> float:
    """Let in those for whom a seat is free. Returns the seconds until the next one is."""
    start = clock.monotonic()
    count, wait = start_rated(using)
    if wait is None:
        return EVERY
    return max(SHORTEST, wait, REST * (clock.monotonic() - start) / (1 + count))
