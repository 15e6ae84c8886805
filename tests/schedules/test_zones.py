"""A tick is a moment: whatever zones the site, the connection and the server are in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_bgtasks import Cron, Every, set_schedule
from django_bgtasks.core import clock
from django_bgtasks.core.clock import in_utc
from django_bgtasks.ledger import schedules
from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules.actions import make_up
from django_bgtasks.schedules.fire import fire_due
from tests.ledger.test_time_zones import ZONES, in_zones

from .tasks import note

pytestmark = pytest.mark.django_db
DB = "default"
# In Berlin the clock shows 2:00 to 3:00 twice then, in New York 1:00 to 2:00.
CHANGES = {
    "Europe/Berlin": datetime(2040, 10, 28, 0, 0, tzinfo=UTC),
    "America/New_York": datetime(2040, 11, 4, 5, 0, tzinfo=UTC),
}


@pytest.mark.parametrize("zones", ZONES, ids=str)
def test_a_tick_comes_at_its_moment(zones: tuple[Any, ...]) -> None:
    with in_zones(*zones):
        now = database_now(DB)
        assert abs(now - clock.now()) < timedelta(seconds=30)
        row = set_schedule("a", note, Every(minutes=1))
        cron = set_schedule("b", note, Cron("* * * * *", zone="Asia/Kathmandu"))
        assert now + timedelta(seconds=60) <= in_utc(row.next_at or now)
        assert now < in_utc(cron.next_at or now) <= now + timedelta(seconds=90)
        wait = schedules.seconds_to_next("default", DB)
        assert wait is not None
        assert 0 <= wait <= 60
        assert fire_due("default", DB) == 0
        Schedule.objects.update(next_at=now - timedelta(seconds=1), anchor=now)
        assert schedules.seconds_to_next("default", DB) == 0
        assert fire_due("default", DB) == 2
        for job in Job.objects.all():
            assert job.tick is not None
            assert abs(in_utc(job.tick) - now) < timedelta(seconds=61)


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("city", CHANGES)
def test_each_tick_of_an_hour_that_comes_twice_is_one_job(use_tz: bool, city: str) -> None:
    """Without USE_TZ Python sees each time of that hour twice."""
    start = CHANGES[city]
    with in_zones(use_tz, city, None, "+00:00"):
        row = set_schedule("a", note, Every(minutes=20), overlap="allow")
        Schedule.objects.filter(pk=row.pk).update(next_at=start, anchor=start)
        moments = [start + timedelta(minutes=20 * number) for number in range(9)]
        for moment in moments:
            assert fire_due("default", DB, moment) == 1
        jobs = Job.objects.order_by("pk")
        assert [in_utc(job.tick) for job in jobs if job.tick] == moments
        Schedule.objects.filter(pk=row.pk).update(next_at=start)
        # They have their jobs.
        for moment in moments:
            assert fire_due("default", DB, moment) == 0
        assert Schedule.objects.get().error == ""
        Job.objects.all().delete()


@pytest.mark.parametrize("use_tz", [True, False])
def test_ticks_of_an_hour_that_comes_twice_are_made_up_once(use_tz: bool) -> None:
    with in_zones(use_tz, "Europe/Berlin", None, "+00:00"):
        row = set_schedule("a", note, Cron("*/20 * * * *", zone="Europe/Berlin"))
        start = datetime(2025, 10, 26, 0, 0, tzinfo=UTC)
        assert len(make_up(row, start, start + timedelta(minutes=119))) == 6
        assert make_up(row, start, start + timedelta(minutes=119)) == []
