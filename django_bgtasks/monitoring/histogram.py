"""Times in classes: small enough to keep, good enough to tell a median and a 95th percentile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

# Upper bounds in seconds; the last class has none.
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
CLASSES = len(BOUNDS) + 1


def added(histograms: Iterable[Sequence[int]]) -> list[int]:
    """The sum of histograms, class by class."""
    total = [0] * CLASSES
    for counts in histograms:
        total = [a + b for a, b in zip_longest(total, counts[:CLASSES], fillvalue=0)]
    return total


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The time in seconds that this share of the counted stayed below; None of nothing.

    Within a class the times are taken as evenly spread; above the last bound it is that bound.
    """
    rank, below = share * sum(counts), 0
    if not rank:
        return None
    for place, count in enumerate(counts):
        if count and below + count >= rank:
            low = BOUNDS[place - 1] if place else 0.0
            high = BOUNDS[min(place, len(BOUNDS) - 1)]
            return low + (high - low) * (rank - below) / count
        below += count
    return float(BOUNDS[-1])
