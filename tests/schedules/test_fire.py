"""A tick is one job: whatever came before, whoever else is there, whatever it costs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks import Cron, Retry, pause_schedule, retry_job, set_schedule
from django_bgtasks.ledger import schedules
from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules import fire as firing
from django_bgtasks.schedules.actions import make_up
from django_bgtasks.schedules.call import task_of
from django_bgtasks.schedules.fire import fire_due
from django_bgtasks.testing import run_jobs
from tests.app.models import Note
from tests.statements import statements
from tests.threads import in_threads

from .rows import DB, MINUTE, START, again, each_minute, fire, ticks, waits_for
from .tasks import inline, keyed, note, note_its_tick, refused, typed

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_tick_is_one_job_with_the_schedule_s_call() -> None:
    task = note.using(queue_name="emails", priority=7, timeout=5, retry=Retry(max_attempts=4))
    row = each_minute(task=task, args=["x"])
    assert [fire(-0.1), fire(), fire()] == [0, 1, 0]
    job = Job.objects.get()
    assert (job.task, job.args, job.state) == (note.module_path, ["x"], "queued")
    assert (job.queue, job.priority, job.timeout, job.max_attempts) == ("emails", 7, 5, 4)
    assert (ticks(row), waits_for(row)) == ([0], 1)
    assert (again(row).skipped, again(row).error) == (0, "")


def test_what_is_due_is_said_by_the_clock_of_the_database() -> None:
    row = each_minute()
    assert fire_due("default", DB) == 0
    due = database_now(DB) - timedelta(seconds=1)
    Schedule.objects.filter(pk=row.pk).update(next_at=due, anchor=due)
    assert fire_due("default", DB) == 1


def test_a_tick_costs_an_update_and_an_insert() -> None:
    for number in range(3):
        each_minute(f"schedule {number}")
    # What is read once in a process.
    fire()
    Job.objects.all().delete()
    with CaptureQueriesContext(connection) as queries:
        assert fire(1) == 3
    sent = [each for each in statements(queries) if each in ("select", "update", "insert")]
    # One look for all of them, and a second one that finds nothing.
    assert sent == ["select", *(["update", "insert"] * 3), "select"]


def test_an_attempt_has_the_tick_and_so_has_the_next_one() -> None:
    each_minute(task=note_its_tick)
    # Half an hour late.
    fire(30)
    run_jobs()
    assert {note.text for note in Note.objects.all()} == {(START + 30 * MINUTE).isoformat()}
    assert Note.objects.count() == 2


def test_the_latest_of_the_missed_ticks_gets_a_job() -> None:
    row = each_minute()
    assert fire(60 * 24 * 14 + 0.5) == 1
    assert ticks(row) == [60 * 24 * 14]
    assert again(row).skipped == 60 * 24 * 14


def test_each_missed_tick_gets_a_job_where_all_are_caught_up() -> None:
    row = each_minute(catch_up="all")
    assert fire(249) == 250
    assert ticks(row) == [*range(250)]
    assert (waits_for(row), again(row).skipped) == (250, 0)


def test_no_missed_tick_gets_a_job_where_none_is_caught_up() -> None:
    row = each_minute(catch_up="none")
    set_schedule("a", note, Cron("0 * * * *", zone="UTC"), catch_up="none")
    Schedule.objects.filter(pk=row.pk).update(next_at=START)
    assert fire(30) == 0
    assert (again(row).skipped, waits_for(row)) == (1, 60)
    assert fire(60) == 1


def test_a_tick_is_skipped_while_the_job_of_an_earlier_one_is_live() -> None:
    row = each_minute()
    assert [fire(), fire(1), fire(2)] == [1, 0, 0]
    assert again(row).skipped == 2
    run_jobs()
    assert fire(3) == 1
    assert ticks(row) == [0, 3]


def test_a_tick_gets_its_job_beside_a_live_one_where_both_may_run() -> None:
    row = each_minute(overlap="allow")
    assert [fire(), fire(1), fire(2)] == [1, 1, 1]
    assert ticks(row) == [0, 1, 2]


def test_a_tick_waits_until_the_job_of_the_earlier_one_is_final() -> None:
    row = each_minute(overlap="wait")
    assert [fire(), fire(1), fire(1)] == [1, 0, 0]
    assert (waits_for(row), again(row).skipped) == (1, 0)
    run_jobs()
    assert fire(1.5) == 1
    assert ticks(row) == [0, 1]


def test_ticks_that_wait_come_one_after_another() -> None:
    row = each_minute(overlap="wait", catch_up="all")
    fire()
    for count in (1, 2, 3):
        assert fire(3) == 0
        run_jobs()
        assert fire(3) == 1
        assert ticks(row) == [*range(count + 1)]


def test_the_job_of_the_last_tick_may_be_gone() -> None:
    row = each_minute(overlap="wait")
    fire()
    Job.objects.all().delete()
    assert fire(1) == 1
    assert ticks(row) == [1]


@pytest.mark.parametrize(("overlap", "count"), [("skip", 0), ("allow", 1), ("wait", 0)])
def test_the_job_of_an_earlier_tick_that_is_retried_by_hand_is_live_again(
    overlap: str, count: int
) -> None:
    row = each_minute(task=note_its_tick.using(retry=Retry(max_attempts=1)), overlap=overlap)
    fire()
    run_jobs()
    fire(1)
    run_jobs()
    retry_job(Job.objects.filter(schedule=row.pk).order_by("tick")[0].pk)
    assert fire(2) == count
    run_jobs()
    assert fire(3) == 1


def test_a_tick_that_has_a_job_already_gets_no_other() -> None:
    row = each_minute(catch_up="all", overlap="allow")
    fire(2)
    # As after the restore of a backup, in which these jobs are and the move is not.
    Schedule.objects.update(next_at=START)
    assert fire(4) == 2
    assert ticks(row) == [0, 1, 2, 3, 4]
    assert (waits_for(row), again(row).error) == (5, "")


def test_other_schedules_fire_beside_one_whose_tick_has_a_job() -> None:
    row = each_minute(overlap="allow")
    fire()
    Schedule.objects.update(next_at=START)
    others = [each_minute(f"other {number}") for number in range(3)]
    assert fire() == 3
    assert [waits_for(each) for each in (row, *others)] == [1, 1, 1, 1]


def test_a_duplicate_is_a_skipped_tick() -> None:
    keyed.enqueue("x")
    row = each_minute(task=keyed, args=["x"])
    assert fire() == 0
    assert (again(row).skipped, waits_for(row), ticks(row)) == (1, 1, [])
    refused.enqueue("x")
    row = each_minute("b", task=refused, args=["x"])
    assert fire() == 0
    assert (again(row).skipped, again(row).error) == (1, "")


def test_arguments_with_their_types_arrive_as_they_left() -> None:
    subject = Note.objects.create(text="of this")
    row = each_minute(task=typed, args=[datetime(1999, 1, 1)], kwargs={"about": subject})  # noqa: DTZ001
    assert fire() == 1
    job = Job.objects.get(schedule=row.pk)
    assert (job.dedup_key, job.label) == ("1999", "of 1999")
    run_jobs()
    assert Note.objects.filter(text="1999 of this").exists()


def test_a_job_may_begin_later_than_its_tick() -> None:
    row = each_minute(jitter=30)
    fire()
    job = Job.objects.get()
    assert (job.state, ticks(row)) == ("scheduled", [0])
    assert job.run_after is not None
    assert START < job.run_after < START + timedelta(seconds=30)


def test_a_late_tick_does_not_wait_for_its_jitter() -> None:
    each_minute(jitter=30)
    fire(0.9)
    assert Job.objects.get().state == "queued"


@pytest.mark.parametrize("mode", ["workers", "inline"])
def test_a_worker_runs_the_job_whatever_is_said_of_inline(mode: str, settings: Any) -> None:
    entry = settings.TASKS["default"]
    settings.TASKS = {**settings.TASKS, "default": {**entry, "OPTIONS": {"mode": mode}}}
    each_minute(task=inline, jitter=30)
    each_minute("b", task=inline)
    assert fire() == 2
    assert not Note.objects.exists()
    assert Job.objects.filter(state="queued").count() == 1


def test_what_is_edited_after_it_was_read_is_not_fired_as_it_was() -> None:
    row = each_minute()
    [seen] = schedules.due("default", DB, 10, START)
    set_schedule("a", note, Cron("0 6 * * *", zone="UTC"))
    assert firing.fire(seen, task_of(seen), DB) is None
    [seen] = schedules.due("default", DB, 10, again(row).next_at)
    pause_schedule("a")
    assert firing.fire(seen, task_of(seen), DB) is None
    assert not Job.objects.exists()


def test_a_schedule_that_is_paused_has_no_ticks() -> None:
    row = each_minute()
    pause_schedule("a")
    assert fire(5) == 0
    assert again(row).skipped == 0


def test_ticks_are_made_up_beside_those_that_come() -> None:
    row = each_minute()
    early = database_now(DB).replace(second=0, microsecond=0) - 10 * MINUTE
    Schedule.objects.filter(pk=row.pk).update(anchor=early, next_at=early + 8 * MINUTE)
    assert len(make_up("a", early + MINUTE, early + 3 * MINUTE)) == 3
    assert len(make_up("a", early, early + 4 * MINUTE)) == 2
    assert Job.objects.filter(schedule=row.pk).count() == 5
    # Those that are yet to come are nobody's to make up.
    assert len(make_up("a", early, early + 60 * MINUTE)) == 6


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
@pytest.mark.parametrize("skips", [True, False], ids=["as it is", "as MariaDB before 10.6"])
def test_each_tick_is_one_job_beside_others_who_fire(
    skips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the database cannot skip rows that are locked."""
    if not skips:
        monkeypatch.setattr(type(connection.features), "has_select_for_update_skip_locked", False)
    rows = [each_minute(f"schedule {number}", overlap="allow") for number in range(30)]

    def fire_all() -> int:
        return sum(fire(minute) for minute in range(4))

    # One who comes late finds several ticks due, of which it takes the latest.
    assert sum(in_threads(*[fire_all] * 4)) == Job.objects.count()
    for row in rows:
        found = ticks(row)
        assert len(found) == len(set(found))
        assert (len(found) + again(row).skipped, waits_for(row), again(row).error) == (4, 4, "")
