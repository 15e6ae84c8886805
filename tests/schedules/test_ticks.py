"""Each tick has its one job, whatever the clocks do and whatever became of the job before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db import connection, transaction

from django_bgtasks import Cron, Every, set_schedule
from django_bgtasks.core.states import State
from django_bgtasks.ledger import schedules
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules import fire as firing
from django_bgtasks.schedules.actions import make_up
from django_bgtasks.schedules.call import task_of

from .moves import DAY, DB, HOUR, MINUTE, fire, fire_until, moved, next_of, now, row_of, ticks_of
from .tasks import note

pytestmark = pytest.mark.django_db(transaction=True)

# When the clocks change, and from when to when a schedule fires around that.
CHANGES = {
    "Berlin, an hour is missing": (
        "Europe/Berlin", "30 2 * * *", "2026-03-28 12:00", "2026-03-30 12:00",
        ["03-29 03:00+0200", "03-30 02:30+0200"],
    ),
    "Berlin, an hour comes twice": (
        "Europe/Berlin", "30 2 * * *", "2026-10-24 12:00", "2026-10-26 12:00",
        ["10-25 02:30+0200", "10-26 02:30+0100"],
    ),
    "Santiago has no midnight": (
        "America/Santiago", "0 0 * * *", "2026-09-05 12:00", "2026-09-07 12:00",
        ["09-06 01:00-0300", "09-07 00:00-0300"],
    ),
    "Lord Howe, half an hour is missing": (
        "Australia/Lord_Howe", "*/10 2 4 10 *", "2026-10-04 00:00", "2026-10-04 12:00",
        ["10-04 02:30+1100", "10-04 02:40+1100", "10-04 02:50+1100"],
    ),
    "Lord Howe, half an hour comes twice": (
        "Australia/Lord_Howe", "*/15 1 * * *", "2026-04-05 00:00", "2026-04-05 12:00",
        ["04-05 01:00+1100", "04-05 01:15+1100", "04-05 01:30+1100", "04-05 01:45+1100",
         "04-05 01:30+1030", "04-05 01:45+1030"],
    ),
    "Troll, two hours are missing": (
        "Antarctica/Troll", "0 1,2,3,4 * * *", "2026-03-29 00:00", "2026-03-29 12:00",
        ["03-29 03:00+0200", "03-29 04:00+0200"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_tick_around_a_change_of_clocks_has_one_job(change: str) -> None:
    zone, cron, start, end, expected = CHANGES[change]
    tzinfo = ZoneInfo(zone)
    set_schedule("a", note, Cron(cron, zone=zone), overlap="allow")
    begin = datetime.fromisoformat(start).replace(tzinfo=tzinfo)
    moved(to=Cron(cron, zone=zone).rule(begin).next_after(begin))
    fire_until(datetime.fromisoformat(end).replace(tzinfo=tzinfo))
    assert [f"{tick.astimezone(tzinfo):%m-%d %H:%M%z}" for tick in ticks_of()] == expected
    assert Job.objects.count() == len(expected)
    assert row_of().skipped == 0


def test_every_minute_goes_on_through_the_repeated_hour() -> None:
    set_schedule("a", note, Cron("* * * * *", zone="Europe/Berlin"), overlap="allow")
    begin = moved(to=datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    fire_until(begin + 45 * MINUTE)
    assert ticks_of() == [begin + n * MINUTE for n in range(46)]


def test_a_worker_that_comes_back_in_the_repeated_hour_fires_no_tick_again() -> None:
    set_schedule("a", note, Cron("30 2 * * *", zone="Europe/Berlin"))
    first = moved(to=datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert fire(first + 40 * MINUTE) == 1
    assert next_of() == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert fire(first + HOUR) == 0


@pytest.mark.parametrize("catch_up", ["latest", "none"])
def test_two_weeks_down_at_every_five_seconds_are_one_job(catch_up: str) -> None:
    set_schedule("a", note, Every(seconds=5), catch_up=catch_up)
    first = moved(by=-14 * DAY)
    back = first + 14 * DAY
    assert fire(back) == 1
    assert fire(back) == 0
    assert ticks_of() == [back]
    assert row_of().skipped == 14 * 17_280


def test_catching_up_with_all_enqueues_each_missed_tick_once() -> None:
    set_schedule("a", note, Every(hours=1), catch_up="all", overlap="allow")
    first = moved(by=-250 * HOUR)
    last = first + 249 * HOUR
    while fire(last):
        pass
    assert ticks_of() == [first + n * HOUR for n in range(250)]
    assert next_of() == last + HOUR


def test_none_of_the_missed_ticks_has_a_job_if_none_is_asked_for() -> None:
    set_schedule("a", note, Every(hours=1), catch_up="none")
    first = moved(by=-10 * HOUR)
    assert fire(first + 30 * MINUTE) == 0
    assert row_of().skipped == 1
    assert fire(next_of() + timedelta(seconds=30)) == 1


def test_a_tick_that_is_later_than_the_grace_has_no_job() -> None:
    set_schedule("a", note, Every(hours=1), catch_up="all", overlap="allow", grace=2 * HOUR)
    first = moved(by=-10 * HOUR)
    assert fire(first + 5 * HOUR) == 3
    assert ticks_of() == [first + n * HOUR for n in (3, 4, 5)]
    assert row_of().skipped == 3


@pytest.mark.parametrize("shift", [-120, 120])
def test_what_is_due_is_what_the_clock_of_the_database_says(shift: float) -> None:
    """The clocks of two hosts may be minutes apart."""
    set_schedule("due", note, Every(hours=1))
    set_schedule("early", note, Every(hours=1))
    tick, later = now() - MINUTE, now() + MINUTE
    moved("due", to=tick)
    moved("early", to=later)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=shift)):
        assert fire() == 1
        set_schedule("new", note, Every(hours=1))
        assert fire() == 0
    assert ticks_of("due") == [tick]
    assert (next_of("due"), next_of("early")) == (tick + HOUR, later)
    assert abs(next_of("new") - now() - HOUR) < MINUTE


def test_a_tick_whose_job_is_pruned_does_not_come_again() -> None:
    set_schedule("a", note, Every(hours=1))
    moved(by=-HOUR - MINUTE)
    [stale] = schedules.due("default", DB, 10)
    assert fire() == 1
    Job.objects.all().delete()
    assert fire() == 0
    assert firing.fire(stale, task_of(stale), DB) is None
    assert not Job.objects.exists()
    assert fire(next_of()) == 1


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RUNNING])
def test_a_job_that_is_not_final_at_the_next_tick_does_what_the_overlap_says(state: State) -> None:
    """It waits, is between two tries, or runs."""
    for overlap in ("skip", "allow", "wait"):
        set_schedule(overlap, note, Every(hours=1), overlap=overlap)
        moved(overlap, by=-3 * HOUR)
        fire_until(next_of(overlap), overlap)
    first = {name: next_of(name) for name in ("skip", "allow", "wait")}
    occupy(state)
    for name, tick in first.items():
        fire(tick)
        assert len(ticks_of(name)) == (2 if name == "allow" else 1), name
    assert row_of("skip").skipped == 1
    assert next_of("skip") == first["skip"] + HOUR
    assert (next_of("wait"), row_of("wait").skipped) == (first["wait"], 0)
    finish()
    assert fire(first["wait"]) == 1
    assert ticks_of("wait")[-1] == first["wait"]


def test_a_tick_that_was_made_up_before_it_was_due_here_has_one_job() -> None:
    set_schedule("a", note, Every(hours=1), catch_up="all", overlap="allow")
    first = moved(by=-3 * HOUR - MINUTE)
    assert len(make_up("a", first, first + HOUR)) == 2
    assert fire() == 1
    assert ticks_of() == [first, first + HOUR, first + 2 * HOUR]
    assert make_up("a", first - MINUTE, first + 2 * HOUR) == []


def test_a_schedule_whose_insert_hangs_is_in_no_others_way() -> None:
    """Somebody has its tick in a transaction that does not end."""
    if connection.vendor == "sqlite":
        pytest.skip("has one writer")
    for name in "abc":
        set_schedule(name, note, Every(hours=1))
        moved(name, by=-HOUR - MINUTE)
    row = row_of("a")
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM django_bgtasks_schedule "
                "WHERE backend = 'default' AND name = 'a' FOR UPDATE"
            )
        assert fire() == 2
        assert {len(ticks_of(name)) for name in "bc"} == {1}
        assert next_of("a") == row.next_at
    finally:
        other.rollback()
        other.close()
    assert fire() == 1


def test_a_move_without_its_job_does_not_exist() -> None:
    """The insert fails, at whatever: the tick stays due."""
    set_schedule("a", note, Every(hours=1))
    due = moved(by=-HOUR - MINUTE)
    [row] = schedules.due("default", DB, 10)

    def fire_and_fail() -> None:
        with transaction.atomic():
            assert firing.fire(row, task_of(row), DB)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fire_and_fail()
    assert not Job.objects.exists()
    assert next_of() == due
    assert fire() == 1


def test_a_tick_costs_two_statements(django_assert_num_queries: Any) -> None:
    """After the first one of a process, which reads what its ledger is called."""
    set_schedule("a", note, Every(hours=1), overlap="allow")
    moved(by=-HOUR - MINUTE)
    fire()
    moved(by=-HOUR - MINUTE)
    [row] = schedules.due("default", DB, 10)
    task = task_of(row)
    with django_assert_num_queries(4) as caught:
        firing.fire(row, task, DB)
    words = [query["sql"].split()[0] for query in caught.captured_queries]
    assert [word for word in words if word in ("UPDATE", "INSERT", "SELECT", "DELETE")] == [
        "UPDATE",
        "INSERT",
    ]


def occupy(state: State) -> None:
    """Let all jobs be in this state."""
    running: dict[str, Any] = {"attempt": 1} if state == State.RUNNING else {}
    if state == State.SCHEDULED:
        running = {"run_after": now() + DAY, "attempt": 1}
    Job.objects.update(state=state, **running)


def finish() -> None:
    """Let all jobs have succeeded."""
    Job.objects.update(state=State.SUCCEEDED, finished_at=now(), run_after=None)


def test_schedules_of_another_backend_are_left_alone() -> None:
    set_schedule("a", note, Every(hours=1))
    Schedule.objects.update(backend="other")
    assert fire(now() + DAY) == 0
