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
from ..models import Job, Seat
from .connection import retried
from .statements import TABLE as JOBS
from .statements import dialect_of
from .times import After, Now, SecondsBetween

SEATS = Seat._meta.db_table
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
    RETURNING rate, number, free_at
), jobs AS (
    UPDATE {JOBS} SET seat = NULL WHERE id = ANY(%s::uuid[])
)
SELECT MAX(EXTRACT(EPOCH FROM seats.free_at - STATEMENT_TIMESTAMP())::float8 - wanted.period)
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
def take_seats(jobs: Sequence[Job], using: str) -> float:
    """Take the seats of these claimed jobs for a period, from when they are free on.

    Returns the seconds until the last of them is free: none of the jobs may begin before.
    """
    periods = {(str(job.rate), job.seat or 0): _period(job) for job in jobs}
    dialect, vendor = dialect_of(using), connections[using].vendor
    if dialect is not None and vendor == "postgresql":
        seats_for = sorted((*seat, period) for seat, period in periods.items())
        columns = [dialect.array(map(str, column)) for column in zip(*seats_for, strict=True)]
        ids = dialect.array(job.pk.hex for job in jobs)
        rows = dialect.run(POSTGRESQL, [*columns, ids], using, searches=True)
        return max(0.0, float(rows[0][0]))
    statement, unit = (SQLITE, " seconds") if vendor == "sqlite" else (MYSQL, "")
    with transaction.atomic(using):
        with connections[using].cursor() as cursor:
            for seat, period in sorted(periods.items()):
                cursor.execute(statement, [*seat, *[f"{period}{unit}"] * 2])
        # Others can have them from now on, when they are free again.
        Job.objects.using(using).filter(pk__in=[job.pk for job in jobs]).update(seat=None)
        seats = Seat.objects.using(using).filter(rate__in={rate for rate, _ in periods})
        free_in = seats.annotate(wait=SecondsBetween(Now(), "free_at"))
        waits = [
            wait - periods[rate, number]
            for rate, number, wait in free_in.values_list("rate", "number", "wait")
            if (rate, number) in periods
        ]
    return max(0.0, *waits)


@retried
def put_off(job: Job, number: int, seconds: float, using: str) -> None:
    """Keep a seat of the job's rate so much longer."""
    seats = Seat.objects.using(using).filter(rate=job.rate, number=number)
    # Not by a time that was read: on SQLite the text of the column may have fewer digits.
    seats.update(free_at=F("free_at") + timedelta(seconds=seconds))


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
