"""The starts of a rate: when a seat is free, and who begins with it.

A job that is queued has a seat of its rate, and no other job can have that. Before it begins, the
seat is periods for a whole period, so that in no period there are more starts than seats.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db import connections, transaction

from ..core.faultpoints import fault_point
from ..models import Job, Seat
from .connection import retried
from .times import After, Now, SecondsBetween

TABLE = Seat._meta.db_table
# A task begins a moment after its seat was taken. By so much a period is longer: by three parts in
# a hundred, and not by more seconds than this.
MARGIN, LONGEST_MARGIN = 0.03, 0.05

# Of each database: a seat is periods from when it is free, or from now.
TAKE = {
    "postgresql": f"""\
INSERT INTO {TABLE} AS s (rate, number, free_at)
VALUES (%s, %s, STATEMENT_TIMESTAMP() + %s * INTERVAL '1 s')
ON CONFLICT (rate, number) DO UPDATE
SET free_at = GREATEST(s.free_at, STATEMENT_TIMESTAMP()) + %s * INTERVAL '1 s'""",
    "sqlite": f"""\
INSERT INTO {TABLE} (rate, number, free_at)
VALUES (%s, %s, STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', %s || ' seconds'))
ON CONFLICT (rate, number) DO UPDATE SET free_at = STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f',
    MAX(free_at, STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')), %s || ' seconds')""",
    "mysql": f"""\
INSERT INTO {TABLE} (rate, number, free_at)
VALUES (%s, %s, UTC_TIMESTAMP(6) + INTERVAL %s SECOND)
ON DUPLICATE KEY UPDATE free_at = GREATEST(free_at, UTC_TIMESTAMP(6)) + INTERVAL %s SECOND""",
}


@retried
@fault_point("take seats")
def take_seats(jobs: Sequence[Job], using: str) -> float:
    """Take the seats of these claimed jobs for a period, from when they are free on.

    Returns the seconds until the last of them is free: none of the jobs may begin before.
    """
    connection = connections[using]
    periods = {(str(job.rate), job.seat): (job.per or 0.0) + margin_of(job) for job in jobs}
    with transaction.atomic(using):
        with connection.cursor() as cursor:
            rows = [(*seat, period, period) for seat, period in sorted(periods.items())]
            cursor.executemany(TAKE[connection.vendor], rows)
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
    for seat in seats:
        later = seat.free_at + timedelta(seconds=seconds)
        seats.filter(free_at=seat.free_at).update(free_at=later)


def next_free(rates: Sequence[str], ahead: float, using: str) -> float:
    """The seconds until the next seat of these rates can be given to a job, at most a second."""
    later = Seat.objects.using(using).filter(rate__in=rates, free_at__gt=After(ahead))
    wait = later.annotate(wait=SecondsBetween(Now(), "free_at")).order_by("free_at")
    seconds = wait.values_list("wait", flat=True).first()
    return 1.0 if seconds is None else max(0.0, min(1.0, seconds - ahead))


def margin_of(job: Job) -> float:
    """How much longer than its period a seat is periods for a start of this job, in seconds."""
    return min(MARGIN * (job.per or 0.0), LONGEST_MARGIN)
