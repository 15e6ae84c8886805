"""One queue, or one task, in figures: what stands in it now, and what ended in it lately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.options import stored_backends
from ..core.states import State
from ..ledger.times import MinuteOf, Now
from ..models import Job, RollUp
from .failures import FailureWindow, take_failures
from .histogram import added, quantile

# States that are found by an index of their own; of the others there may be millions.
COUNTED = (
    State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RUNNING, State.FAILED, State.CANCELLED,
)  # fmt: skip
# The minutes of a period, and of the roll-ups that it is summed from.
HOUR, DAY = (60, 1), (24 * 60, 10)
OTHER = {"queue": "task", "task": "queue"}


@dataclass(frozen=True, slots=True)
class Period:
    """What ended in so many minutes. waits, runs: the 95th percentile, in seconds."""

    minutes: int
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    waits: float | None = None
    runs: float | None = None

    @property
    def ended(self) -> int:
        """All of them."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def per_minute(self) -> float:
        """How many ended in a minute."""
        return self.ended / self.minutes

    @property
    def failure_share(self) -> float | None:
        """Of those that ended; None if none did."""
        return self.failed / self.ended if self.ended else None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One queue or one task. states: how many jobs are in each of COUNTED now.

    parts: the tasks of a queue, or the queues of a task, with their last day, the busiest first.
    """

    states: dict[str, int]
    hour: Period
    day: Period
    parts: tuple[tuple[str, Period], ...]
    failures: FailureWindow


def break_down(kind: str, name: str, backend: str, using: str) -> Breakdown:
    """The figures of the `queue` or the `task` (the kind) of this name."""
    only = {kind: name}
    day = _rollups(DAY, backend, using, **only)
    names = {getattr(row, OTHER[kind]) for row in day}
    parts = [
        (part, _period(DAY[0], [row for row in day if getattr(row, OTHER[kind]) == part]))
        for part in sorted(names)
    ]
    return Breakdown(
        _states(backend, using, **only),
        _period(HOUR[0], _rollups(HOUR, backend, using, **only)),
        _period(DAY[0], day),
        tuple(sorted(parts, key=lambda part: -part[1].ended)),
        take_failures(backend, using, **only),
    )


def is_known(kind: str, name: str, backend: str, using: str) -> bool:
    """Whether there has been a job in this `queue` or of this `task` lately."""
    only = {kind: name, "backend__in": stored_backends(backend)}
    if RollUp.objects.using(using).filter(**only).exists():
        return True
    return any(_states(backend, using, **{kind: name}).values())


def _states(backend: str, using: str, **only: str) -> dict[str, int]:
    # One statement for each: partial indexes know one state each.
    rows = Job.objects.using(using).filter(backend__in=stored_backends(backend), **only).order_by()
    return {str(state): rows.filter(state=state).count() for state in COUNTED}


def _rollups(period: tuple[int, int], backend: str, using: str, **only: str) -> list[RollUp]:
    minutes, span = period
    rows = RollUp.objects.using(using).filter(
        span=span,
        minute__gt=MinuteOf(Now()) - minutes,
        backend__in=stored_backends(backend),
        **only,
    )
    return list(rows)


def _period(minutes: int, rows: Sequence[RollUp]) -> Period:
    return Period(
        minutes,
        sum(row.succeeded for row in rows),
        sum(row.failed for row in rows),
        sum(row.cancelled for row in rows),
        quantile(added(row.waits for row in rows), 0.95),
        quantile(added(row.runs for row in rows), 0.95),
    )
