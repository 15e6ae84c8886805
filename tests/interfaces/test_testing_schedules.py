"""`run_schedules()`: the ticks of a span, in a test of a site, without waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_bgtasks import Cron, Every, pause_schedule, set_schedule, task
from django_bgtasks.core import clock
from django_bgtasks.core.errors import TaskNotFound
from django_bgtasks.jobs.task import SCHEDULED
from django_bgtasks.models import Job, Schedule
from django_bgtasks.testing import run_schedules
from tests.app.tasks import add

from .rows import make_schedule

pytestmark = pytest.mark.django_db(transaction=True)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


@task(takes_context=True)
def tick_of(context: Any) -> str:
    assert context.tick is not None
    return str(context.tick.strftime("%a %H:%M"))


@task(takes_context=True, schedule=[Every(hours=6), Cron("30 12 * * *", name="lunch")])
def declared(context: Any) -> str:
    return str(context.tick.strftime("%a %H:%M"))


@task
def follow(number: int) -> None:
    add.enqueue(number, 1)


@pytest.fixture(autouse=True)
def known_here_only() -> Iterator[None]:
    """What the code of this module declares is no schedule of other tests."""
    SCHEDULED[declared.module_path] = declared
    yield
    SCHEDULED.pop(declared.module_path)


# Not while other modules run that ask for all schedules of the code.
SCHEDULED.pop(declared.module_path)


def results(jobs: list[Job]) -> list[Any]:
    return [job.result for job in jobs]


def test_each_tick_of_the_span_runs_at_its_time_in_order() -> None:
    set_schedule("eight", tick_of, Cron("0 8 * * *", zone="UTC"))
    set_schedule("nine", tick_of, Cron("0 9 * * MON", zone="UTC"))
    ran = run_schedules(start=MONDAY, until=MONDAY + 48 * HOUR, only=["eight", "nine"])
    assert results(ran) == ["Mon 08:00", "Mon 09:00", "Tue 08:00"]


def test_what_the_code_declares_is_there_and_counts_from_the_start() -> None:
    ran = run_schedules(start=MONDAY, until=MONDAY + 13 * HOUR, only=[declared])
    assert results(ran) == ["Mon 06:00", "Mon 12:00", "Mon 12:30"]
    again = run_schedules(until=MONDAY + 24 * HOUR, only=[declared])
    assert results(again) == ["Mon 18:00", "Tue 00:00"]
    lunch = run_schedules(until=MONDAY + 48 * HOUR, only=[f"{declared.module_path}:lunch"])
    assert results(lunch) == ["Tue 12:30"]


def test_the_start_itself_is_no_tick_and_the_end_is_one() -> None:
    set_schedule("hourly", tick_of, Cron("@hourly", zone="UTC"))
    ran = run_schedules(start=MONDAY, until=MONDAY + HOUR, only=["hourly"])
    assert results(ran) == ["Mon 01:00"]


@pytest.mark.parametrize("years", [-20, 20])
def test_the_clock_may_be_years_away(years: int) -> None:
    start = MONDAY.replace(year=MONDAY.year + years)
    set_schedule("often", tick_of, Every(minutes=20), jitter=600)
    ran = run_schedules(start=start, until=start + HOUR, only=["often"])
    assert len(ran) == 3
    assert all(start < job.tick <= start + HOUR for job in ran if job.tick)
    assert [job.state for job in ran] == ["succeeded"] * 3


def test_jobs_that_a_job_enqueues_run_too() -> None:
    set_schedule("follow", follow, Cron("0 8 * * *", zone="UTC"), args=[7])
    ran = run_schedules(start=MONDAY, until=MONDAY + 24 * HOUR, only=["follow"])
    assert [job.task for job in ran] == [follow.module_path, add.module_path]
    assert ran[1].result == 8


def test_with_workers_that_are_busy_overlap_counts() -> None:
    for overlap in ("skip", "allow", "wait"):
        set_schedule(overlap, tick_of, Cron("@hourly", zone="UTC"), overlap=overlap)
    names = ["skip", "allow", "wait"]
    queued = run_schedules(start=MONDAY, until=MONDAY + 3 * HOUR, only=names, run=False)
    assert {job.state for job in queued} == {"queued"}
    rows = {row.pk: row.name for row in Schedule.objects.all()}
    assert sorted(rows[job.schedule] for job in queued if job.schedule) == [
        *["allow"] * 3,
        "skip",
        "wait",
    ]


def test_what_is_paused_fires_nothing() -> None:
    set_schedule("hourly", tick_of, Cron("@hourly", zone="UTC"))
    pause_schedule("hourly")
    assert run_schedules(start=MONDAY, until=MONDAY + 24 * HOUR, only=["hourly"]) == []


def test_without_a_start_each_goes_on_from_where_it_is_and_is_never_late() -> None:
    past = clock.now() - 3 * HOUR
    for catch_up in ("latest", "all", "none"):
        make_schedule(name=catch_up, catch_up=catch_up, anchor=past, next_at=past)
    ran = run_schedules(until=past + 2 * HOUR, only=["latest", "all", "none"])
    assert Counter(job.tick for job in ran) == {past + hours * HOUR: 3 for hours in range(3)}


def test_a_span_that_is_too_long_ends() -> None:
    set_schedule("often", tick_of, Every(seconds=1))
    with pytest.raises(RuntimeError, match="fired 5 ticks and there are still more"):
        run_schedules(start=MONDAY, until=MONDAY + HOUR, only=["often"], limit=5)
    with pytest.raises(ValueError, match="not later than start"):
        run_schedules(start=MONDAY, until=MONDAY)


def test_a_schedule_that_cannot_run_fails_the_test() -> None:
    make_schedule(task="tests.app.tasks.removed")
    with pytest.raises(TaskNotFound, match=r"tests\.app\.tasks\.removed"):
        run_schedules(start=MONDAY, until=MONDAY + 24 * HOUR, only=["digest"])
