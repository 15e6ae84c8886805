"""How rates stand: what has started in their periods, who waits, and when the next one may start.

As for limits, each question is few statements, which read a bounded number of rows on PostgreSQL
and SQLite. A rate is in use while jobs wait for it, and as long as its seats are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Count, Min

from ..core.states import WaitsFor
from ..ledger.admission import RATE
from ..ledger.times import Now, SecondsBetween
from ..models import Job, Seat
from .limits import (
    LANES,
    NONE_WAIT,
    PREFIXES,
    Counted,
    KeysInUse,
    by_prefix,
    counted,
    keys_in_use,
    longest_keys,
    rows_of,
    waiting_of,
    walk_waiting,
)
from .queries import DUE

SEATS = Seat._meta.db_table


@dataclass(frozen=True, slots=True)
class RateFigures:
    """How a rate stands.

    started: how many starts are within their periods. allowed, per: how many may be, in so many
    seconds, as the first job that waits says. oldest: seconds that one has waited, of the first
    1,000 in line. next_start: seconds until the next one may start, 0 for now. None if nobody
    waits.
    """

    key: str
    started: int = 0
    allowed: int | None = None
    per: float | None = None
    waiting: Counted = NONE_WAIT
    oldest: float | None = None
    next_start: float | None = None


@dataclass(frozen=True, slots=True)
class RateTotals:
    """All rates with one prefix, which is as that of PrefixTotals.

    next_start: the seconds until the next one may start where all starts are used; 0 if nobody
    waits.
    """

    prefix: str | None
    started: int = 0
    waiting: int = 0
    oldest: float = 0.0
    next_start: float = 0.0


def find_rates(using: str, search: str = "") -> KeysInUse:
    """The rates in use whose keys contain this text, small letters being as capitals."""

    def walk(after: str) -> tuple[dict[str, int], dict[str, int]]:
        return walk_waiting(RATE, after, using), dict.fromkeys(_rates_with_seats(after, using), 0)

    return keys_in_use(walk, search)


def rate_figures(keys: Sequence[str], using: str) -> list[RateFigures]:
    """Of each of these rates how it stands now, in this order. Four statements."""
    if not keys:
        return []
    waiting = waiting_of(RATE, keys, using)
    rows = rows_of({pk for line in waiting.values() for pk in line[1:] if pk}, using)
    busy = _busy_seats(keys, using)
    seated = Job.objects.using(using).filter(rate__in=keys, seat__isnull=False).order_by()
    with_seat = dict(seated.values_list("rate").annotate(number=Count("pk")))
    found = []
    for key in keys:
        number, head_id, oldest_id = waiting.get(key, (0, None, None))
        started, free_in = busy.get(key, (0, 0.0))
        if not number or not (head := rows.get(head_id)) or not (oldest := rows.get(oldest_id)):
            found.append(RateFigures(key, started))
            continue
        is_full = started + with_seat.get(key, 0) >= head.starts
        found.append(
            RateFigures(
                key, started, head.starts, head.per, counted(number),
                max(0.0, oldest.seconds or 0.0), free_in if is_full else 0.0,
            )
        )  # fmt: skip
    return found


def longest_rate_waits(limit: int, using: str) -> list[RateFigures]:
    """The rates for which somebody waits longest; one statement where nobody waits."""
    return rate_figures(longest_keys(RATE, limit, using), using)


def rate_totals(using: str) -> list[RateTotals]:
    """What has started and who waits, by the prefixes of the keys. Two statements.

    They read each job that waits once, and each seat: these figures are for metrics, and exact.
    """
    waiting: Any = Job.objects.using(using).filter(waits_for=WaitsFor.RATE)
    waiting = by_prefix(waiting, "rate").annotate(
        number=Count("pk"), oldest=SecondsBetween(Min(DUE), Now())
    )
    wait = {row["prefix"]: (row["number"], max(0.0, row["oldest"] or 0.0)) for row in waiting}
    seats: Any = by_prefix(Seat.objects.using(using).filter(free_at__gt=Now()), "rate").annotate(
        number=Count("pk"), free_in=SecondsBetween(Now(), Min("free_at"))
    )
    busy = {row["prefix"]: (row["number"], max(0.0, row["free_in"] or 0.0)) for row in seats}
    totals = []
    for prefix in {**wait, **busy}:
        number, oldest = wait.get(prefix, (0, 0.0))
        started, free_in = busy.get(prefix, (0, 0.0))
        totals.append(RateTotals(prefix, started, number, oldest, free_in if number else 0.0))
    totals.sort(key=lambda one: (-one.waiting, -one.started, one.prefix or ""))
    return [*totals[:PREFIXES], *_summed(totals[PREFIXES:])]


def is_any_seat_taken(using: str) -> bool:
    """Whether something with a rate has started of late. Without rates nothing has."""
    return Seat.objects.using(using).exists()


def _busy_seats(keys: Sequence[str], using: str) -> dict[str, tuple[int, float]]:
    """How many seats of these rates are taken, and the seconds until the first of them is free."""
    rows: Any = Seat.objects.using(using).filter(rate__in=keys, free_at__gt=Now()).order_by()
    rows = rows.values_list("rate").annotate(
        number=Count("pk"), free_in=SecondsBetween(Now(), Min("free_at"))
    )
    return {rate: (number, max(0.0, free_in or 0.0)) for rate, number, free_in in rows}


def _rates_with_seats(after: str, using: str) -> list[str]:
    """The first LANES rates from this key on that have seats: a step through the index for each."""
    step = f"SELECT MIN(rate) FROM {SEATS} WHERE rate"
    statement = f"""\
WITH RECURSIVE found(name, number) AS (
    SELECT ({step} >= %s), 1
    UNION ALL
    SELECT ({step} > found.name), number + 1 FROM found WHERE name IS NOT NULL AND number < {LANES}
)
SELECT name FROM found WHERE name IS NOT NULL"""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [after])
        return [name for (name,) in cursor.fetchall()]


def _summed(totals: Sequence[RateTotals]) -> list[RateTotals]:
    if not totals:
        return []
    started, waiting = (sum(getattr(t, name) for t in totals) for name in ("started", "waiting"))
    oldest = max(one.oldest for one in totals)
    soonest = min((one.next_start for one in totals if one.waiting), default=0.0)
    return [RateTotals(None, started, waiting, oldest, soonest)]
