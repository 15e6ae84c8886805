"""One clock and one unit: whatever zones the site, the connection and the server are in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import DataError, connection
from django.db.models import Value
from django.test import override_settings

from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import Transition
from django_bgtasks.idempotency import records
from django_bgtasks.ledger import statements, workers
from django_bgtasks.ledger.lifecycle import holder_of
from django_bgtasks.ledger.prune import prune_jobs, release_windows
from django_bgtasks.ledger.statements import run_prepared
from django_bgtasks.ledger.times import Now, SecondsBetween, after
from django_bgtasks.ledger.transitions import next_due, promote
from django_bgtasks.models import Job, RollUp, Worker
from django_bgtasks.models.fields import UTCDateTimeField
from django_bgtasks.monitoring.rollups import add_up_ended

from .rows import DB, added, aged, claimed, keyed, now, settled

BACKENDS = ("default",)

pytestmark = pytest.mark.django_db
CITIES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "Asia/Tokyo")
# (USE_TZ, TIME_ZONE, the database's TIME_ZONE, the zone of the session on MariaDB)
ZONES = [
    *((False, city, None, "+00:00") for city in CITIES),
    *((True, "UTC", city, "+00:00") for city in CITIES),
    (True, "Europe/Berlin", None, "-05:00"),
    (True, "UTC", None, "+09:00"),
    (False, "Asia/Tokyo", None, "-05:00"),
    (True, "America/New_York", "Asia/Kolkata", "+09:00"),
]


@contextmanager
def in_zones(use_tz: bool, site: str, database: str | None, session: str) -> Iterator[None]:
    """The site, the connection and the session in these zones."""
    before = connection.settings_dict["TIME_ZONE"]
    connection.settings_dict["TIME_ZONE"] = database
    with override_settings(USE_TZ=use_tz, TIME_ZONE=site):
        _forget()
        if connection.vendor == "mysql":
            _execute(f"SET time_zone = '{session}'")
        yield
    connection.settings_dict["TIME_ZONE"] = before
    _forget()
    if connection.vendor == "mysql":
        _execute("SET time_zone = @@global.time_zone")


def _forget() -> None:
    for name in ("timezone", "timezone_name"):
        connection.__dict__.pop(name, None)
    statements._converters.cache_clear()
    connection.ensure_timezone()


def _execute(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


@pytest.fixture(params=ZONES, ids=lambda zones: "-".join(map(str, zones)))
def zones(request: pytest.FixtureRequest, form: str) -> Iterator[None]:
    """Each of them."""
    with in_zones(*request.param):
        yield


@pytest.mark.usefixtures("zones")
def test_the_time_of_the_database_is_that_of_the_host() -> None:
    job = settled(Outcome(Transition.SUCCEED))
    for moment in (job.enqueued_at, job.started_at, job.finished_at):
        assert moment is not None
        assert abs(clock.between(moment, clock.now())) < timedelta(seconds=30)
    [read] = Job.objects.annotate(now=Now(), soon=after(timedelta(hours=1))).values_list(
        "now", "soon"
    )
    assert timedelta(minutes=59) < clock.between(*read) < timedelta(minutes=61)
    assert abs(clock.between(read[0], clock.now())) < timedelta(seconds=30)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["hot"], indirect=True)
@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "Asia/Kolkata"])
def test_a_time_is_read_as_django_reads_it(form: str, zone: str | None) -> None:
    """To the microsecond, and of the hour that comes twice in a year the right one."""
    moments = [
        "1883-11-18 12:00:00+00",
        "2026-10-25 00:30:00.25+00",
        "2026-10-25 01:30:00.000001+00",
        "9998-12-31 23:59:59.999999+00",
    ]
    sql = "SELECT moment::timestamptz FROM unnest(%s::text[]) AS one(moment)"
    with in_zones(True, "UTC", zone, ""):
        # Each session is adapted to its zone when it begins.
        connection.close()
        own = run_prepared(sql, [moments], connection)
        with connection.cursor() as cursor:
            cursor.execute(sql, [moments])
            rows = cursor.fetchall()
        assert [repr(moment) for (moment,) in own] == [repr(moment) for (moment,) in rows]
        with pytest.raises(DataError, match="too large"):
            run_prepared(sql, [["infinity"]], connection)
    connection.close()


@pytest.mark.usefixtures("zones")
def test_a_job_is_due_when_its_time_has_come_and_not_before() -> None:
    job = added(run_after=clock.now_as_stored() + timedelta(seconds=40))
    aware = added(run_after=clock.now() + timedelta(seconds=50))
    assert promote(10, DB) == []
    assert next_due(DB)[0] == pytest.approx(40, abs=20)
    Job.objects.filter(pk=job.pk).update(run_after=clock.now_as_stored() - timedelta(seconds=1))
    assert promote(10, DB) == [job]
    assert next_due(DB)[0] == pytest.approx(50, abs=20)
    Job.objects.filter(pk=aware.pk).update(run_after=clock.now() - timedelta(seconds=1))
    assert promote(10, DB) == [aware]


@pytest.mark.usefixtures("zones")
def test_a_retry_waits_as_long_as_it_was_told() -> None:
    settled(Outcome(Transition.RETRY_AT, delay=timedelta(seconds=40)))
    assert next_due(DB)[0] == pytest.approx(40, abs=20)


@pytest.mark.usefixtures("zones")
def test_a_worker_that_beats_is_alive_and_one_that_does_not_is_dead() -> None:
    worker = Worker(pk=clock.new_id(), hostname="a", pid=1, processes=1, backend="default")
    workers.register(worker, DB)
    assert workers.call_dead(10.0, DB) == 0
    Worker.objects.update(last_seen_at=clock.now_as_stored() - timedelta(seconds=12))
    assert workers.call_dead(10.0, DB) == 1


@pytest.mark.usefixtures("zones")
def test_a_window_is_as_long_as_it_was_told() -> None:
    job = settled(Outcome(Transition.SUCCEED), keyed(scope="window"))
    assert holder_of(job.dedup_slot or "", DB) == job
    assert release_windows(DB) == 0
    Job.objects.update(dedup_until=clock.now_as_stored() - timedelta(seconds=1))
    assert release_windows(DB) == 1


@pytest.mark.usefixtures("zones")
def test_a_key_is_remembered_as_long_as_it_was_told() -> None:
    begun = records.begin("", "k", "", records.Owner(), timedelta(seconds=60), DB)
    assert begun is not None
    assert not records.owner_is_gone(begun, records.Owner(), DB)
    records.complete(begun, None, DB)
    assert records.prune(DB) == 0
    type(begun).objects.update(expires_at=clock.now_as_stored() - timedelta(seconds=1))
    assert records.prune(DB) == 1


@pytest.mark.usefixtures("zones")
def test_a_job_is_kept_as_long_as_it_was_told() -> None:
    aged(settled(Outcome(Transition.SUCCEED)), timedelta(minutes=50))
    assert prune_jobs({"succeeded": timedelta(hours=1)}, BACKENDS, DB) == 0
    assert prune_jobs({"succeeded": timedelta(minutes=45)}, BACKENDS, DB) == 1


@pytest.mark.usefixtures("zones")
def test_a_minute_of_the_charts_is_that_of_the_clock() -> None:
    settled(Outcome(Transition.SUCCEED))
    assert add_up_ended(3, DB) == 1
    assert RollUp.objects.get().minute == pytest.approx(time.time() // 60, abs=1)


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize(("month", "day"), [(10, 25), (3, 29)])
def test_an_hour_that_comes_twice_or_never_is_an_hour(
    form: str, month: int, day: int, use_tz: bool
) -> None:
    """In Berlin, where at 01:00 UTC of these days the clock is put back or forward."""
    with in_zones(use_tz, "Europe/Berlin", "Europe/Berlin" if use_tz else None, "+00:00"):
        times = [datetime(2026, month, day, hour, 30, tzinfo=UTC) for hour in (0, 1)]
        first, second = (added(run_after=moment) for moment in times)
        read = [due(job) for job in (first, second)]
        assert clock.between(*read) == timedelta(hours=1)
        assert clock.between(times[0], read[0]) == timedelta(0)
        gap = SecondsBetween("run_after", Value(times[1], output_field=UTCDateTimeField()))
        rows = Job.objects.annotate(gap=gap).order_by("run_after").values_list("gap", flat=True)
        assert list(rows) == pytest.approx([3600, 0], abs=0.01)


def due(job: Job) -> datetime:
    moment = now(job).run_after
    assert moment is not None
    return moment


def test_a_day_from_now_has_24_hours(form: str) -> None:
    """In the zone of the session a day may have 23."""
    added()
    for delay in (timedelta(days=1), timedelta(days=400), timedelta(microseconds=500_000)):
        for sign in (1, -1):
            gap = SecondsBetween(Now(), after(sign * delay))
            [[seconds]] = Job.objects.annotate(gap=gap).values_list("gap")
            assert seconds == pytest.approx(sign * delay.total_seconds(), abs=0.01)


def test_a_time_beyond_all_columns_is_written_as_the_latest(form: str) -> None:
    job = claimed()
    Job.objects.filter(pk=job.pk).update(run_after=after(timedelta.max))
    assert 8000 < due(job).year < 9999
    assert not Job.objects.filter(enqueued_at__lt=after(timedelta.min)).exists()


@pytest.mark.sqlite
@pytest.mark.mysql
@pytest.mark.parametrize("zone", CITIES)
def test_the_column_holds_utc(form: str, zone: str) -> None:
    local = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo(zone))
    with in_zones(False, zone, None, "+09:00"):
        job = added(run_after=local.replace(tzinfo=None))
        [stored] = _execute(f"SELECT run_after FROM {Job._meta.db_table}")
        assert str(stored)[:19] == f"{local.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        assert now(job).run_after == local.replace(tzinfo=None)
