"""The starts of a rate: when a seat is free, and who begins with it.

A job that is queued has a seat of its rate, and no other job can have that. Before it begins, the
seat is taken for a whole period and a margin, so that in no period there are more starts than
seats. When the task has returned, what is too much of that is given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import F, Value

from ..core import clock
from ..core.clock import EPOCH
from ..core.faultpoints import fault_point
from ..core.limits import TakenSeat
from ..core.states import Transition
from ..models import Job, Seat
from .admission import AHEAD
from .connection import retried
from .lifecycle import owned
from .statement_texts import TABLE as JOBS
from .statements import dialect_of
from .times import After, Now, SecondsBetween

SEATS = Seat._meta.db_table
[RUNNING] = Transition.SUCCEED.sources
# A task begins a moment after its seat was taken, and nobody knows how long that will be. By so
# much a seat is taken for longer than its period: by this part of it, and not by more seconds.
MARGIN, LONGEST_MARGIN = 0.05, 0.1
# Times are equal if they differ by less than this many seconds: SQLite counts milliseconds.
SAME = 0.0005

# A seat is taken from when it is free, or from now. The row says how long that is from now.
POSTGRESQL = f"""\
WITH wanted AS (
    SELECT * FROM unnest(%s::text[], %s::int[], %s::float8[]) AS wanted(rate, number, period)
), seats AS (
    INSERT INTO {SEATS} AS s (rate, number, free_at)
    SELECT rate, number, STATEMENT_TIMESTAMP() + period * INTERVAL '1 s' FROM wanted
    ON CONFLICT (rate, number) DO UPDATE SET free_at = GREATEST(s.free_at, STATEMENT_TIMESTAMP())
        + (EXCLUDED.free_at - STATEMENT_TIMESTAMP())
    WHERE s.free_at <= STATEMENT_TIMESTAMP() + INTERVAL '{AHEAD} s'
    RETURNING rate, number, free_at
), jobs AS (
    UPDATE {JOBS} j SET seat = NULL FROM unnest(%s::uuid[], %s::int[]) AS claimed(id, claims)
    WHERE j.id = claimed.id AND j.claims = claimed.claims AND j.state || '' = '{RUNNING}'
        AND EXISTS (SELECT 1 FROM seats WHERE seats.rate = j.rate AND seats.number = j.seat)
)
SELECT rate, number,
    EXTRACT(EPOCH FROM seats.free_at - STATEMENT_TIMESTAMP())::float8 - wanted.period,
    EXTRACT(EPOCH FROM seats.free_at)::float8
FROM seats JOIN wanted USING (rate, number)
"""
NOW, LONGER = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", "'%%Y-%%m-%%d %%H:%%M:%%f'"
SQLITE = f"""\
INSERT INTO {SEATS} (rate, number, free_at) VALUES (%s, %s, STRFTIME({LONGER}, {NOW}, %s))
ON CONFLICT (rate, number) DO UPDATE SET free_at = STRFTIME({LONGER}, MAX(free_at, {NOW}), %s)
"""
MYSQL = f"""\
INSERT INTO {SEATS} (rate, number, free_at) VALUES (%s, %s, UTC_TIMESTAMP(6) + INTERVAL %s SECOND)
ON DUPLICATE KEY UPDATE free_at = GREATEST(free_at, UTC_TIMESTAMP(6)) + INTERVAL %s SECOND
"""
SHORTEN = f"""\
UPDATE {SEATS} s SET free_at = s.free_at - given.seconds * INTERVAL '1 s'
FROM unnest(%s::text[], %s::int[], %s::float8[], %s::float8[])
    AS given(rate, number, known, seconds)
WHERE s.rate = given.rate AND s.number = given.number AND s.free_at <= TO_TIMESTAMP(given.known)
"""


@retried
@fault_point("take seats")
def take_seats(jobs: Sequence[Job], using: str) -> dict[tuple[str, int], TakenSeat]:
    """Take the seats of these claimed jobs for a period, from when they are free on.

    Returns them by rate and number. One that is not there was given to its job by a look that was
    older than the start of another with it: that job has to wait for its next seat.
    """
    periods = {(str(job.rate), job.seat or 0): period_of(job) for job in jobs}
    dialect = dialect_of(using)
    if dialect is not None and connections[using].vendor == "postgresql":
        seats_for = sorted((*seat, period) for seat, period in periods.items())
        columns = [dialect.array(map(str, column)) for column in zip(*seats_for, strict=True)]
        claims = dialect.columns([(job.pk.hex, job.claims) for job in jobs])
        start = clock.monotonic()
        rows = dialect.run(POSTGRESQL, [*columns, *claims], using, searches=True)
        end = clock.monotonic()
        return {
            (rate, number): TakenSeat(number, start + wait, end + wait, free_at)
            for rate, number, wait, free_at in rows
        }
    return _take_by_orm(jobs, periods, using)


def _take_by_orm(
    jobs: Sequence[Job], periods: dict[tuple[str, int], float], using: str
) -> dict[tuple[str, int], TakenSeat]:
    """The same where there is no statement for it."""
    vendor = connections[using].vendor
    statement, unit = (SQLITE, " seconds") if vendor == "sqlite" else (MYSQL, "")
    seats = Seat.objects.using(using).filter(rate__in={rate for rate, _ in periods})
    with transaction.atomic(using):
        busy = set(seats.filter(free_at__gt=After(AHEAD)).values_list("rate", "number"))
        periods = {seat: period for seat, period in periods.items() if seat not in busy}
        with connections[using].cursor() as cursor:
            for seat, period in sorted(periods.items()):
                cursor.execute(statement, [*seat, *[f"{period}{unit}"] * 2])
        # Others can have them from now on, when they are free again.
        for job in jobs:
            if (job.rate, job.seat) in periods:
                owned(job, using).update(seat=None)
        since = SecondsBetween(Value(EPOCH, Seat._meta.get_field("free_at")), "free_at")
        times = seats.annotate(wait=SecondsBetween(Now(), "free_at"), at=since)
        start = clock.monotonic()
        found = list(times.values_list("rate", "number", "wait", "at"))
        end = clock.monotonic()
    seats_of = {}
    for rate, number, wait, free_at in found:
        if (rate, number) in periods:
            seconds = wait - periods[rate, number]
            seats_of[rate, number] = TakenSeat(number, start + seconds, end + seconds, free_at)
    return seats_of


@retried
def put_off(job: Job, seat: TakenSeat, seconds: float, using: str) -> None:
    """Keep a seat that was taken for this job so much longer."""
    rows = Seat.objects.using(using).filter(rate=job.rate, number=seat.number)
    rows.update(free_at=F("free_at") + timedelta(seconds=seconds))
    seat.free_at += seconds


@retried
@fault_point("shorten seats")
def shorten(sooner: Sequence[tuple[Job, TakenSeat, float]], using: str) -> None:
    """Let seats that were taken for these jobs be free so many seconds sooner.

    Not one that somebody has taken since: it would be free too soon.
    """
    dialect = dialect_of(using)
    if dialect is not None and connections[using].vendor == "postgresql":
        seats = sorted(
            (str(job.rate), seat.number, seat.free_at + SAME, seconds)
            for job, seat, seconds in sooner
        )
        columns = [dialect.array(map(str, column)) for column in zip(*seats, strict=True)]
        dialect.run(SHORTEN, columns, using, searches=True)
        return
    with transaction.atomic(using):
        for job, seat, seconds in sooner:
            rows = Seat.objects.using(using).filter(rate=job.rate, number=seat.number)
            known = EPOCH + timedelta(seconds=seat.free_at + SAME)
            before = F("free_at") - timedelta(seconds=seconds)
            rows.filter(free_at__lte=known).update(free_at=before)


def next_free(rates: Sequence[str], ahead: float, using: str) -> float:
    """The seconds until the next seat of these rates can be given to a job, at most a second.

    It may be given back by a margin sooner: so where there is time, this is so much sooner.
    """
    later = Seat.objects.using(using).filter(rate__in=rates, free_at__gt=After(ahead))
    wait = later.annotate(wait=SecondsBetween(Now(), "free_at")).order_by("free_at")
    seconds = wait.values_list("wait", flat=True).first()
    if seconds is None:
        return 1.0
    seconds = max(0.0, seconds - ahead)
    return min(1.0, seconds if seconds <= LONGEST_MARGIN else seconds - LONGEST_MARGIN)


def margin_of(job: Job) -> float:
    """How much longer than its period a seat is taken for a start of this job, in seconds."""
    return min(MARGIN * (job.per or 0.0), LONGEST_MARGIN)


def period_of(job: Job) -> float:
    """For how many seconds a seat is taken for a start of this job."""
    return (job.per or 0.0) + margin_of(job)
