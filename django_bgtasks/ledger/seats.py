"""The starts of a rate: when a seat is free, and who begins with it.

A job that is queued has a seat of its rate, and no other job can have that. Before it begins, the
seat is taken for a whole period, so that in no period there are more starts than seats.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import F

from ..core.faultpoints import fault_point
from ..core.states import Transition
from ..models import Job, Seat
from .admission import AHEAD
from .connection import retried
from .lifecycle import owned
from .statements import TABLE as JOBS
from .statements import dialect_of
from .times import After, Now, SecondsBetween

SEATS = Seat._meta.db_table
[RUNNING] = Transition.SUCCEED.sources
# A task begins a moment after its seat was taken. By so much a period is longer: by three parts in
# a hundred, and not by more seconds than this.
MARGIN, LONGEST_MARGIN = 0.03, 0.05

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
    EXTRACT(EPOCH FROM seats.free_at - STATEMENT_TIMESTAMP())::float8 - wanted.period
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


@retried
@fault_point("take seats")
def take_seats(jobs: Sequence[Job], using: str) -> dict[tuple[str, int], float]:
    """Take the seats of these claimed jobs for a period, from when they are free on.

    Returns the seconds until each of them is free, by rate and number: its job may not begin
    before. One that is not there was given to its job by a look that was older than the start of
    another with it: that job has to wait for its next seat.
    """
    periods = {(str(job.rate), job.seat or 0): _period(job) for job in jobs}
    dialect, vendor = dialect_of(using), connections[using].vendor
    if dialect is not None and vendor == "postgresql":
        seats_for = sorted((*seat, period) for seat, period in periods.items())
        columns = [dialect.array(map(str, column)) for column in zip(*seats_for, strict=True)]
        claims = dialect.columns([(job.pk.hex, job.claims) for job in jobs])
        rows = dialect.run(POSTGRESQL, [*columns, *claims], using, searches=True)
        return {(rate, number): wait for rate, number, wait in rows}
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
        free_in = seats.annotate(wait=SecondsBetween(Now(), "free_at"))
        return {
            (rate, number): wait - periods[rate, number]
            for rate, number, wait in free_in.values_list("rate", "number", "wait")
            if (rate, number) in periods
        }


@retried
def put_off(job: Job, number: int, seconds: float, using: str) -> None:
    """Keep a seat of the job's rate so much longer."""
    seat = Seat.objects.using(using).filter(rate=job.rate, number=number)
    seat.update(free_at=F("free_at") + timedelta(seconds=seconds))


def next_free(rates: Sequence[str], ahead: float, using: str) -> float:
    """The seconds until the next seat of these rates can be given to a job, at most a second."""
    later = Seat.objects.using(using).filter(rate__in=rates, free_at__gt=After(ahead))
    wait = later.annotate(wait=SecondsBetween(Now(), "free_at")).order_by("free_at")
    seconds = wait.values_list("wait", flat=True).first()
    return 1.0 if seconds is None else max(0.0, min(1.0, seconds - ahead))


def margin_of(job: Job) -> float:
    """How much longer than its period a seat is taken for a start of this job, in seconds."""
    return min(MARGIN * (job.per or 0.0), LONGEST_MARGIN)


def _period(job: Job) -> float:
    return (job.per or 0.0) + margin_of(job)
