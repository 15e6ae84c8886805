"""Schedules are set, edited, paused, resumed and removed: at once, and in the transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from django_bgtasks import (
    Carried,
    Cron,
    Every,
    InvalidArguments,
    InvalidSchedule,
    Retry,
    pause_schedule,
    remove_schedule,
    resume_schedule,
    set_schedule,
)
from django_bgtasks.core.clock import in_utc
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.core.compat import api as tasks_api
from django_bgtasks.ledger.history import Actor
from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import HistoryEntry, Job, Schedule
from django_bgtasks.schedules.actions import make_up, run_schedule_now
from django_bgtasks.schedules.call import task_of
from django_bgtasks.testing import run_jobs
from tests.app.models import Note
from tests.threads import in_threads

from .rows import DB, MINUTE, START, again, each_minute, fire, ticks, waits_for
from .tasks import inline, keyed, note

pytestmark = pytest.mark.django_db(transaction=True)
LANGUAGE = {"now": "en"}
spoken = Carried("spoken", lambda: LANGUAGE["now"], lambda value: LANGUAGE.update(now=value))


def entries() -> list[tuple[str, str, str]]:
    """What the history has: what, who and which."""
    return list(HistoryEntry.objects.order_by("pk").values_list("verb", "by", "detail"))


def test_a_new_schedule_waits_for_its_first_tick() -> None:
    row = set_schedule("a", note, Every(minutes=10))
    assert row.next_at is not None
    assert row.next_at - row.anchor == timedelta(minutes=10)
    assert (row.source, row.backend, row.revision) == ("made", "default", 1)


def test_it_keeps_the_call_and_the_policies() -> None:
    ada, subject = User.objects.create(username="ada"), Note.objects.create(text="subject")
    task = note.using(owner=ada, queue_name="emails", retry=Retry(max_attempts=7), expires=60)
    row = set_schedule(
        "report-42",
        task,
        Cron("0 8 * * *", zone="Asia/Tokyo"),
        args=["x"],
        about=subject,
        catch_up="all",
        grace=timedelta(hours=6),
        overlap="wait",
        jitter=30,
        when="tests.schedules.tasks.at_seven",
    )
    assert (row.cron, row.every, row.zone) == ("0 8 * * *", None, "Asia/Tokyo")
    assert (row.catch_up, row.grace, row.overlap, row.jitter) == ("all", 21600, "wait", 30)
    assert (row.owner, row.about, row.when) == (ada, subject, "tests.schedules.tasks.at_seven")
    kept = task_of(row)
    assert (kept.queue_name, kept.retry.max_attempts, kept.expires) == ("emails", 7, 60)
    job = run_schedule_now("report-42")
    assert job is not None
    job = Job.objects.get(pk=job.pk)
    assert (job.owner, job.about, job.queue) == (ada, subject, "emails")


OPTIONS: list[dict[str, Any]] = [
    {"dedup_key": "{text}", "dedup_scope": timedelta(hours=1), "on_duplicate": "replace"},
    {"dedup_key": None},
    {"label": "it says {text}", "on_crash": "fail", "timeout": 7.5, "priority": -3},
    {"expires": timedelta(minutes=5)},
    {"retry": Retry(max_attempts=9, delays=[1, 2], on=(OSError,))},
]


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_options_come_back_as_they_were(options: dict[str, Any]) -> None:
    task = note.using(**options)
    kept = task_of(again(set_schedule("a", task, Every(minutes=1))))
    assert kept == replace(note, **{name: getattr(task, name) for name in options})


def test_a_plain_task_of_the_tasks_api_may_have_a_schedule() -> None:
    row = each_minute(task=plain)
    assert fire() == 1
    assert Job.objects.get().task == row.task == plain.module_path


@tasks_api.task
def plain() -> None:
    """One of Django's own."""


def test_what_is_set_again_is_edited() -> None:
    first = set_schedule("a", note, Every(minutes=10), args=["x"])
    row = set_schedule("a", keyed, Cron("0 6 * * *", zone="Asia/Tokyo"), args=["y"])
    assert (row.pk, row.revision, row.every) == (first.pk, 2, None)
    assert (row.task, row.args) == (keyed.module_path, ["y"])
    assert row.next_at != first.next_at


@pytest.mark.parametrize("minute", [58, 2])
def test_an_edit_to_a_later_or_an_earlier_time_counts_from_now(minute: int) -> None:
    now = database_now(DB)
    row = set_schedule("a", note, Cron("30 * * * *", zone="UTC"))
    row = set_schedule("a", note, Cron(f"{minute} * * * *", zone="UTC"))
    assert row.next_at is not None
    assert in_utc(row.next_at).minute == minute
    assert now < in_utc(row.next_at) <= now + timedelta(hours=1, minutes=1)


def test_what_is_set_as_it_is_changes_nothing() -> None:
    timing = Cron("0 6 * * *", zone="Asia/Tokyo")
    first = set_schedule("a", note, timing, by="ada")
    Schedule.objects.update(next_at=START)
    row = set_schedule("a", note, timing, by="ada")
    assert (row.revision, in_utc(row.next_at or START)) == (first.revision, START)
    assert entries() == [("schedule_set", "ada", "a")]


def test_a_due_tick_is_not_lost_to_an_edit_of_its_arguments_or_policies() -> None:
    row = each_minute(args=["x"])
    set_schedule("a", note, Every(minutes=1), args=["y"], overlap="allow", jitter=0)
    assert waits_for(row) == 0
    assert fire() == 1
    assert Job.objects.get().args == ["y"]


def test_what_is_set_in_a_transaction_that_is_rolled_back_is_not_set() -> None:
    with transaction.atomic():
        set_schedule("a", note, Every(minutes=10), by="ada")
        transaction.set_rollback(True)
    assert not Schedule.objects.exists()
    assert not entries()


def test_many_who_set_one_schedule_at_once_set_one() -> None:
    def set_one() -> Any:
        return set_schedule("a", note, Every(minutes=10), args=["x"]).pk

    assert len(set(in_threads(*[set_one] * 4))) == 1
    assert Schedule.objects.count() == 1


def test_a_schedule_that_is_resumed_goes_on_with_its_next_tick() -> None:
    row = each_minute()
    assert pause_schedule("a", by=Actor("ada", "admin"))
    assert not pause_schedule("a", by="bob")
    assert (again(row).paused_by, fire(60 * 24 * 7)) == ("ada", 0)
    week = database_now(DB) - timedelta(days=7)
    Schedule.objects.update(anchor=week, next_at=week)
    assert resume_schedule("a", by="bob")
    assert not resume_schedule("a")
    later = again(row)
    assert later.next_at is not None
    assert in_utc(later.next_at) > database_now(DB)
    assert (later.paused_at, later.paused_by, later.skipped) == (None, "", 0)
    assert entries() == [("schedule_paused", "ada", "a"), ("schedule_resumed", "bob", "a")]


def test_an_edit_leaves_a_schedule_paused() -> None:
    each_minute()
    pause_schedule("a")
    assert set_schedule("a", note, Every(minutes=5)).paused_at is not None


def test_the_jobs_of_a_schedule_that_is_removed_stay() -> None:
    row = each_minute(catch_up="all", overlap="allow")
    fire(1)
    assert remove_schedule("a", by="ada")
    assert not remove_schedule("a")
    assert Job.objects.count() == 2
    # Made again, it is another one, whose ticks are its own.
    new = each_minute()
    assert fire() == 1 or new.overlap == "skip"
    assert (new.pk != row.pk, ticks(new)) == (True, [0])
    assert entries() == [("schedule_removed", "ada", "a")]


def test_a_job_runs_now_whatever_the_schedule_says() -> None:
    row = each_minute(args=["x"], when="tests.schedules.tasks.never")
    pause_schedule("a")
    job = run_schedule_now("a", by="ada")
    assert job is not None
    assert (job.schedule, job.state) == (row.pk, "queued")
    assert job.tick is not None
    assert waits_for(row) == 0
    assert entries()[-1] == ("schedule_run", "ada", "a")
    run_jobs()
    assert Note.objects.get().text == "x"


def test_a_job_does_not_run_now_beside_one_that_has_its_key() -> None:
    each_minute(task=keyed, args=["x"])
    keyed.enqueue("x")
    assert run_schedule_now("a", by="ada") is None
    assert not entries()


def test_missing_ticks_are_made_up_and_no_others() -> None:
    row = each_minute()
    start = database_now(DB).replace(second=0, microsecond=0) - timedelta(days=2)
    Schedule.objects.update(anchor=start)
    jobs = make_up("a", start, start + 9 * MINUTE, by="ada")
    assert [in_utc(job.tick or START) - start for job in jobs] == [n * MINUTE for n in range(10)]
    assert make_up("a", start, start + 9 * MINUTE, by="ada") == []
    assert len(make_up("a", start, start + 10 * MINUTE)) == 1
    assert Job.objects.filter(schedule=row.pk).count() == 11
    assert entries() == [("ticks_made_up", "ada", "a")]
    with pytest.raises(InvalidSchedule, match="more than 1000 ticks"):
        make_up("a", start, start + timedelta(days=1))
    with pytest.raises(InvalidSchedule, match="ends before it begins"):
        make_up("a", start, start - MINUTE)


def test_jobs_carry_the_context_in_which_the_schedule_was_set(settings: Any) -> None:
    entry = settings.TASKS["default"]
    carried = {"OPTIONS": {"carry": [f"{__name__}.spoken"]}}
    settings.TASKS = {**settings.TASKS, "default": {**entry, **carried}}
    LANGUAGE["now"] = "de"
    each_minute()
    LANGUAGE["now"] = "en"
    fire()
    assert Job.objects.get().carried == '{"spoken": "de"}'


WRONG: dict[str, tuple[type[Exception], str, Any]] = {
    "name": (InvalidSchedule, "name of a schedule", lambda: set_schedule("", note, Every(60))),
    "long name": (InvalidSchedule, "1 to 200", lambda: set_schedule("x" * 201, note, Every(60))),
    "no times": (InvalidSchedule, "takes Cron", lambda: set_schedule("a", note, "0 6 * * *")),  # type: ignore[arg-type]
    "no task": (InvalidSchedule, "needs a task", lambda: set_schedule("a", print, Every(60))),
    "cron": (InvalidSchedule, "minute", lambda: set_schedule("a", note, Cron("61 * * * *"))),
    "zone": (InvalidSchedule, "Berlin", lambda: Cron("@daily", zone="Europe/Berlim")),
    "arguments": (
        InvalidArguments,
        "too many positional",
        lambda: set_schedule("a", note, Every(60), args=["x", "y"]),
    ),
    "not JSON": (
        InvalidArguments,
        "not JSON",
        lambda: set_schedule("a", note, Every(60), args=[datetime(2000, 1, 1, tzinfo=UTC)]),
    ),
    "policy": (
        InvalidSchedule,
        "catch_up",
        lambda: set_schedule("a", note, Every(60), catch_up="some"),
    ),
    "run_after": (
        InvalidSchedule,
        "is for one job",
        lambda: set_schedule("a", note.using(run_after=START), Every(60)),
    ),
    "expires at": (
        InvalidSchedule,
        "length of time",
        lambda: set_schedule("a", note.using(expires=START), Every(60)),
    ),
    "expires in jitter": (
        InvalidSchedule,
        "less jitter",
        lambda: set_schedule("a", note.using(expires=10), Every(60), jitter=30),
    ),
    "a key of no text": (
        InvalidSchedule,
        "format string",
        lambda: set_schedule("a", note.using(dedup_key=lambda text: text), Every(60), args=["x"]),
    ),
    "queue": (
        InvalidTask,
        "gone",
        lambda: set_schedule("a", note.using(queue_name="gone"), Every(60)),
    ),
    "owner": (InvalidArguments, "owner", lambda: set_schedule("a", note, Every(60), owner="ada")),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_could_not_be_fired_is_refused_at_the_call(what: str) -> None:
    kind, text, call = WRONG[what]
    with pytest.raises(kind, match=text):
        call()
    assert not Schedule.objects.exists()


def test_a_schedule_that_is_not_there_is_refused_with_those_that_are() -> None:
    set_schedule("report-42", note, Every(60))
    with pytest.raises(InvalidSchedule, match=r"no schedule 'report-24'.*Is it 'report-42'"):
        pause_schedule("report-24")


def test_inline_is_for_who_enqueues_and_not_for_a_schedule() -> None:
    assert task_of(each_minute(task=inline)).inline is False
