"""What charts are drawn from: the roll-ups of the last hour, day or week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..core import clock
from ..ledger.lifecycle import ledger_database
from .histogram import added, quantile
from .rollups import rolled_up

# How many points, and the minutes of each: spans that maintenance keeps.
RANGES = {"hour": (60, 1), "day": (144, 10), "week": (168, 60)}


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """What ended within `minutes` from `start` on, and how long it took, in seconds.

    waits, runs: the median and the 95th percentile; None of nothing.
    """

    start: datetime
    minutes: int
    succeeded: int
    failed: int
    cancelled: int
    waits: tuple[float | None, float | None]
    runs: tuple[float | None, float | None]

    @property
    def ended(self) -> int:
        """All of them."""
        return self.succeeded + self.failed + self.cancelled


def series(backend: str, name: str, using: str | None = None, **only: str) -> list[ChartPoint]:
    """The points of this range, oldest first, those in which nothing ended included.

    only: those of this `queue` or this `task`.
    """
    count, span = RANGES[name]
    now = int(clock.now().timestamp()) // 60
    last = now // span * span
    first = last - (count - 1) * span
    found: dict[int, list[Any]] = {}
    for row in rolled_up(backend, span, first, using or ledger_database(), **only):
        found.setdefault(row[0], []).append(row)
    return [_point(at, span, found.get(at, [])) for at in range(first, last + 1, span)]


def _point(minute: int, span: int, rows: list[Any]) -> ChartPoint:
    waits, runs = added(row[4] for row in rows), added(row[5] for row in rows)
    return ChartPoint(
        start=datetime.fromtimestamp(minute * 60, UTC),
        minutes=span,
        succeeded=sum(row[1] for row in rows),
        failed=sum(row[2] for row in rows),
        cancelled=sum(row[3] for row in rows),
        waits=(quantile(waits, 0.5), quantile(waits, 0.95)),
        runs=(quantile(runs, 0.5), quantile(runs, 0.95)),
    )
