"""What people and deploys do to a schedule counts from then on, and loses no tick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from django_bgtasks import (
    Cron,
    Every,
    pause_schedule,
    remove_schedule,
    resume_schedule,
    set_schedule,
)
from django_bgtasks.jobs.task import SCHEDULED
from django_bgtasks.ledger import schedules
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules import fire as firing
from django_bgtasks.schedules.actions import use_code
from django_bgtasks.schedules.call import task_of
from django_bgtasks.schedules.code import write_declared
from tests.threads import in_threads

from .moves import DAY, DB, HOUR, MINUTE, fire, moved, next_of, now, row_of, ticks_of
from .tasks import digest, note, sync

pytestmark = pytest.mark.django_db(transaction=True)

DIGEST = digest.module_path
WEEK = 7 * DAY


@pytest.fixture
def code() -> Iterator[dict[str, Any]]:
    """What the code declares, to be changed as a deploy does; at first only the digest."""
    before = dict(SCHEDULED)
    SCHEDULED.clear()
    SCHEDULED[DIGEST] = digest
    yield SCHEDULED
    SCHEDULED.clear()
    SCHEDULED.update(before)


def deploy(code: dict[str, Any], *timings: Cron | Every, path: str = DIGEST) -> None:
    """Workers start, with a code that declares these times for a task."""
    code[path] = replace(digest, schedule=timings or None)
    write_declared("default", DB)


# Edits by people.


def test_one_that_is_moved_to_a_later_time_does_not_fire_at_the_earlier_one() -> None:
    set_schedule("a", note, Every(hours=1))
    first = next_of()
    set_schedule("a", note, Every(hours=5))
    assert next_of() > first
    assert fire(first) == 0
    assert fire(next_of()) == 1


def test_one_that_is_moved_to_an_earlier_time_fires_at_that() -> None:
    set_schedule("a", note, Every(hours=5))
    set_schedule("a", note, Every(minutes=1))
    assert next_of() <= now() + MINUTE
    assert fire(next_of()) == 1


def test_an_edit_makes_up_nothing_that_the_new_times_would_have_had() -> None:
    set_schedule("a", note, Cron("@yearly"))
    moved(by=-400 * DAY)
    set_schedule("a", note, Every(minutes=1))
    assert next_of() > now()
    assert fire() == 0


def test_an_edit_of_the_arguments_alone_loses_no_tick_and_its_job_has_them() -> None:
    set_schedule("a", note, Every(hours=1), args=["old"])
    due = moved(by=-HOUR - MINUTE)
    set_schedule("a", note, Every(hours=1), args=["new"])
    assert next_of() == due
    assert fire() == 1
    assert Job.objects.get().args == ["new"]


def test_after_a_pause_of_a_week_it_goes_on_with_the_next_tick() -> None:
    set_schedule("a", note, Every(hours=1), catch_up="all")
    pause_schedule("a")
    moved(by=-WEEK)
    assert fire() == 0
    resume_schedule("a")
    assert now() < next_of() <= now() + HOUR
    assert fire() == 0
    assert fire(next_of()) == 1
    assert row_of().skipped == 0


def test_one_that_begins_in_the_past_has_one_job_and_goes_on_in_the_future() -> None:
    set_schedule("a", note, Every(hours=1))
    moved(by=-30 * DAY)
    assert fire() == 1
    assert fire() == 0
    [tick] = ticks_of()
    assert now() - HOUR < tick <= now() < next_of() == tick + HOUR


def test_one_that_is_deleted_and_made_again_is_another_one() -> None:
    """Who has read the old one fires nothing, and the old one's jobs stand in no tick's way."""
    set_schedule("a", note, Every(hours=1), args=["old"])
    due = moved(by=-HOUR - MINUTE)
    [stale] = schedules.due("default", DB, 10)
    fire()
    remove_schedule("a")
    set_schedule("a", note, Every(hours=1), args=["new"])
    moved(to=due)
    assert firing.fire(stale, task_of(stale), DB) is None
    assert fire(due) == 1
    assert sorted(Job.objects.values_list("args", flat=True)) == [["new"], ["old"]]


@pytest.mark.parametrize("edit", ["edit", "pause", "resume", "remove"])
def test_who_has_read_a_schedule_before_an_edit_fires_nothing(edit: str) -> None:
    """So does a process that was stopped in between, for however long."""
    set_schedule("a", note, Every(hours=1), args=["old"])
    moved(by=-HOUR - MINUTE)
    [stale] = schedules.due("default", DB, 10)
    if edit == "edit":
        set_schedule("a", note, Every(hours=1), args=["new"])
    elif edit == "remove":
        remove_schedule("a")
    else:
        pause_schedule("a")
        if edit == "resume":
            resume_schedule("a")
    assert firing.fire(stale, task_of(stale), DB) is None
    assert not Job.objects.exists()


def test_who_stood_still_across_a_tick_fires_it_once_with_the_others() -> None:
    set_schedule("a", note, Every(hours=1), overlap="allow")
    moved(by=-HOUR - MINUTE)
    [stale] = schedules.due("default", DB, 10)
    assert fire() == 1
    assert firing.fire(stale, task_of(stale), DB) is None
    fire(next_of())
    assert firing.fire(stale, task_of(stale), DB) is None
    assert len(ticks_of()) == Job.objects.count() == 2


def test_schedules_do_not_multiply_however_many_set_them_at_once() -> None:
    in_threads(*[lambda: set_schedule("a", note, Every(hours=1))] * 8)
    assert Schedule.objects.count() == 1
    set_schedule("a", note, Every(hours=1))
    assert row_of().revision == 1


# Deploys.


def test_what_the_code_declares_anew_waits_for_its_first_tick(code: dict[str, Any]) -> None:
    write_declared("default", DB)
    assert row_of(DIGEST).source == "code"
    assert next_of(DIGEST) > now()
    assert fire() == 0
    assert fire(next_of(DIGEST)) == 1


def test_what_is_no_longer_in_the_code_fires_nothing(code: dict[str, Any]) -> None:
    deploy(code, Every(hours=1))
    moved(DIGEST, by=-DAY)
    deploy(code)
    assert fire() == 0
    deploy(code, Every(hours=1))
    assert fire() == 1


def test_one_of_two_that_is_taken_out_of_the_code_leaves_the_other(code: dict[str, Any]) -> None:
    deploy(code, Every(hours=1, name="x"), Every(hours=1, name="y"))
    for name in "xy":
        moved(f"{DIGEST}:{name}", by=-DAY)
    deploy(code, Every(hours=1, name="y"))
    assert fire() == 1
    assert Job.objects.get().schedule == row_of(f"{DIGEST}:y").pk


def test_a_new_name_in_the_code_is_a_new_schedule_and_the_old_one_is_silent(
    code: dict[str, Any],
) -> None:
    deploy(code, Every(hours=1, name="x"))
    moved(f"{DIGEST}:x", by=-DAY)
    deploy(code, Every(hours=1, name="y"))
    assert fire() == 0
    assert fire(next_of(f"{DIGEST}:y")) == 1


def test_a_restart_loses_no_tick_and_moves_none(code: dict[str, Any]) -> None:
    """A tick comes in the middle of a deploy, when no worker runs."""
    deploy(code, Every(hours=1))
    due = moved(DIGEST, by=-HOUR - MINUTE)
    for _restart in range(3):
        deploy(code, Every(hours=1))
    assert (next_of(DIGEST), row_of(DIGEST).revision) == (due, 1)
    deploy(code, Every(hours=1, catch_up="all"))
    assert next_of(DIGEST) == due
    assert fire() == 1
    assert ticks_of(DIGEST) == [due]


def test_an_interval_longer_than_any_uptime_counts_over_restarts(code: dict[str, Any]) -> None:
    deploy(code, Every(days=30))
    begin = row_of(DIGEST).anchor
    for _day in range(5):
        moved(DIGEST, by=-DAY)
        deploy(code, Every(days=30))
    assert next_of(DIGEST) == begin + 25 * DAY
    assert fire(begin + 25 * DAY - MINUTE) == 0
    assert fire(begin + 25 * DAY) == 1


def test_a_restart_keeps_what_a_person_has_changed(code: dict[str, Any]) -> None:
    deploy(code, Every(hours=1))
    set_schedule(DIGEST, digest, Every(hours=7))
    deploy(code, Every(hours=2))
    row = row_of(DIGEST)
    assert (row.every, row.overridden, row.source) == (7 * 3600, True, "code")
    assert fire(next_of(DIGEST)) == 1
    use_code(DIGEST)
    row = row_of(DIGEST)
    assert (row.every, row.overridden) == (2 * 3600, False)
    deploy(code, Every(hours=3))
    assert row_of(DIGEST).every == 3 * 3600


def test_a_restart_keeps_a_pause(code: dict[str, Any]) -> None:
    deploy(code, Every(hours=1))
    pause_schedule(DIGEST)
    moved(DIGEST, by=-DAY)
    deploy(code, Every(hours=1))
    deploy(code, Every(hours=2))
    assert row_of(DIGEST).paused_at is not None
    assert fire() == 0


def test_eight_workers_that_start_at_once_write_each_schedule_once(code: dict[str, Any]) -> None:
    code[sync.module_path] = sync
    in_threads(*[lambda: write_declared("default", DB)] * 8)
    assert Schedule.objects.count() == 3
    assert set(Schedule.objects.values_list("revision", flat=True)) == {1}


def test_two_services_with_a_database_in_common_fire_each_its_own(code: dict[str, Any]) -> None:
    deploy(code, Every(hours=1))
    code[sync.module_path] = sync
    write_declared("default", DB)
    other = {DIGEST: code.pop(DIGEST)}
    late = now() + 2 * DAY
    assert fire(late) == 2
    code.clear()
    code.update(other)
    assert fire(late) == 1
    assert Job.objects.filter(task=DIGEST).count() == 1


def test_a_time_zone_in_the_settings_counts_as_it_was_when_the_schedule_was_set(
    settings: Any,
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    set_schedule("a", note, Cron("0 6 * * *"))
    settings.TIME_ZONE = "UTC"
    assert next_of().hour == 21
    assert fire(next_of()) == 1
    assert next_of() == ticks_of()[0] + timedelta(days=1)
