"""Where jobs wait for a place or a start for long, and which sequences a failed job holds: for a
snapshot.

A key is that of all backends, and so are these figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from ..core.limits import LaneMode
from ..core.states import State, WaitsFor
from ..ledger.admission import LANE, RATE
from ..ledger.times import Now, SecondsBetween
from ..models import Job
from .limits import LaneFigures, are_waited_for, longest_waits
from .rates import RateFigures, longest_rate_waits

# So many lanes are listed, and so many sequences that are held are counted.
LISTED, COUNTED = 10, 1000


@dataclass(frozen=True, slots=True)
class WaitingLane:
    """One limit or sequence in which jobs wait. oldest: seconds that one has waited.

    allowed: how many may run at once, None if nobody says so just now; changed: whether a person
    has. in_use: how many places are. waiting: at least so many, if is_more. held_by: the failed job
    that holds the sequence.
    """

    key: str
    is_sequence: bool
    allowed: int | None
    changed: bool
    in_use: int
    waiting: int
    is_more: bool
    oldest: float
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class HeldSequence:
    """A sequence in which jobs wait behind one that has failed. seconds: since it did."""

    key: str
    job: str
    task: str
    seconds: float


@dataclass(frozen=True, slots=True)
class WaitingRate:
    """One rate for which jobs wait. oldest: seconds that one has waited.

    started: how many have, within the last period; allowed, per: how many may, in so many seconds.
    waiting: at least so many, if is_more. next_start: seconds until the next one may start.
    """

    key: str
    started: int
    allowed: int
    per: float
    waiting: int
    is_more: bool
    oldest: float
    next_start: float


@dataclass(frozen=True, slots=True)
class WaitsSnapshot:
    """The lanes in which a job waits longest; how many sequences are held, and the first of them;
    and the rates for which one waits longest.

    held_sequences: at least so many, if it is COUNTED.
    """

    lanes: tuple[WaitingLane, ...] = ()
    held_sequences: int = 0
    first_held: HeldSequence | None = None
    rates: tuple[WaitingRate, ...] = ()


NOBODY_WAITS = WaitsSnapshot()


def take_waits(using: str) -> WaitsSnapshot:
    """How they stand now. Where nobody waits it is one statement."""
    at_lanes, at_rates = are_waited_for((LANE, RATE), using)
    found = longest_rate_waits(LISTED, using) if at_rates else []
    rates = tuple(_rate(figures) for figures in found if figures.waiting.number)
    lanes: tuple[WaitingLane, ...] = ()
    if at_lanes:
        lanes = tuple(_lane(figures) for figures in longest_waits(LISTED, using))
    if not lanes:
        return WaitsSnapshot(rates=rates)
    sequences = _held_sequences(using)
    first: Any = sequences.annotate(seconds=SecondsBetween("finished_at", Now())).first()
    if first is None:
        return WaitsSnapshot(lanes, rates=rates)
    seconds = max(0.0, first.seconds or 0.0)
    one = HeldSequence(first.lane, str(first.pk), first.task, seconds)
    return WaitsSnapshot(lanes, sequences.order_by()[:COUNTED].count(), one, rates)


def is_any_place_taken(using: str) -> bool:
    """Whether a job holds a place. Without limits and sequences none does."""
    return Job.objects.using(using).filter(place__isnull=False).exists()


def _lane(figures: LaneFigures) -> WaitingLane:
    holder, number = figures.holder, figures.waiting
    return WaitingLane(
        figures.key,
        figures.is_sequence,
        figures.allowed,
        bool(figures.changed),
        figures.held,
        number.number,
        number.is_more,
        figures.oldest or 0.0,
        str(holder.id) if holder and figures.is_held_by_failed else "",
    )


def _rate(figures: RateFigures) -> WaitingRate:
    return WaitingRate(
        figures.key,
        figures.started,
        figures.allowed or 0,
        figures.per or 0.0,
        figures.waiting.number,
        figures.waiting.is_more,
        figures.oldest or 0.0,
        figures.next_start or 0.0,
    )


def _held_sequences(using: str) -> QuerySet[Job]:
    """The failed jobs behind which others wait, those first that failed first."""
    waits = Job.objects.using(using).filter(waits_for=WaitsFor.LANE, lane=OuterRef("lane"))
    failed = Job.objects.using(using).filter(
        state=State.FAILED, place__isnull=False, lane_mode=LaneMode.HOLD.value
    )
    return failed.filter(Exists(waits)).order_by("finished_at")
