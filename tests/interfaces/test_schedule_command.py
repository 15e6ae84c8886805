"""`bgschedules`: what it lists, what it does, and what it refuses."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.utils import translation

from django_bgtasks import testing
from django_bgtasks.core import clock
from django_bgtasks.management.base import shell_actor
from django_bgtasks.models import HistoryEntry, Job, Schedule

from .commands import run
from .rows import make_job, make_schedule

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_list_has_the_next_time_the_last_job_and_who_has_paused_it() -> None:
    row = make_schedule(name="digest", every=None, cron="0 6 * * MON-FRI", zone="Europe/Berlin")
    for hours, state in ((2, "succeeded"), (1, "failed")):
        tick = clock.now() - timedelta(hours=hours)
        make_job(state, schedule=row.pk, tick=tick)
    make_schedule(name="report-7", paused_at=clock.now(), paused_by="ada", skipped=1234)
    make_schedule(name="unlucky", error="The queue emails is full.", refused_at=clock.now())
    overdue = {"next_at": clock.now() - timedelta(hours=2)}
    for name, task in (("a-gone", "tests.gone"), ("a-late", "tests.app.tasks.add")):
        make_schedule(name=name, task=task, **overdue)
    make_schedule(name="a-code", source="code", **overdue)
    text, code = run("bgschedules")
    head, of_code, gone, late, digest, paused, unlucky = text.splitlines()
    assert "Task unknown" in gone
    assert "Not in the code" in of_code
    assert "late by 2 h" in late
    assert code == 0
    assert head.split()[0] == "schedule"
    assert "06:00" in digest
    assert "Failed" in digest
    assert "paused by ada" in paused
    assert "1,234" in paused or "1234" in paused
    assert "The queue emails is full." in unlucky


def test_the_last_job_may_be_one_that_somebody_has_run() -> None:
    row = make_schedule()
    make_job("failed", schedule=row.pk, tick=clock.now() - timedelta(hours=1))
    with testing.without_redis():
        run("bgschedules", "run", "digest")
        testing.run_jobs()
    assert "Succeeded" in run("bgschedules")[0]


def test_of_a_task_with_a_dedup_key_one_job_is_live() -> None:
    make_schedule(task="tests.schedules.tasks.keyed", args=["a"])
    with testing.without_redis():
        run("bgschedules", "run", "digest")
        with pytest.raises(CommandError, match="digest: a job that is live holds its dedup key"):
            run("bgschedules", "run", "digest")
    assert Job.objects.count() == 1


def test_a_site_without_schedules_says_so() -> None:
    text, code = run("bgschedules")
    assert (text.strip(), code) == ("There are none.", 0)


def test_json_has_plain_values_in_every_language() -> None:
    row = make_schedule(about_key="7")
    job = make_job("failed", schedule=row.pk, tick=clock.now() - timedelta(hours=1))
    make_schedule(name="paused", paused_at=clock.now(), paused_by="ada", next_at=None)
    with translation.override("de"):
        text, code = run("bgschedules", "--json")
    digest, paused = json.loads(text)
    assert code == 0
    assert (digest["name"], digest["task"], digest["every"]) == ("digest", row.task, 3600.0)
    assert (digest["last_job"]["id"], digest["last_job"]["state"]) == (str(job.pk), "failed")
    assert (digest["state"], paused["state"]) == ("active", "paused")
    assert digest["next_at"].endswith("+00:00")
    assert (paused["next_at"], paused["paused_by"], paused["last_job"]) == (None, "ada", None)


def test_a_schedule_is_paused_and_resumed_and_the_history_knows_by_whom() -> None:
    make_schedule(next_at=clock.now() - timedelta(days=7))
    who = shell_actor("bgschedules").name
    assert run("bgschedules", "pause", "digest") == ("digest is paused.\n", 0)
    assert run("bgschedules", "pause", "digest") == ("digest was paused before.\n", 0)
    row = Schedule.objects.get()
    assert (row.paused_at is None, row.paused_by) == (False, who)
    assert run("bgschedules", "resume", "digest") == ("digest goes on.\n", 0)
    assert run("bgschedules", "resume", "digest") == ("digest was not paused.\n", 0)
    row.refresh_from_db()
    assert row.paused_at is None
    assert row.next_at is not None
    assert row.next_at > clock.now()
    entries = HistoryEntry.objects.order_by("id").values_list("verb", "by", "via", "detail")
    assert list(entries) == [
        ("schedule_paused", who, "bgschedules", "digest"),
        ("schedule_resumed", who, "bgschedules", "digest"),
    ]


def test_a_schedule_is_run_now_and_goes_on_as_before() -> None:
    row = make_schedule()
    with testing.without_redis():
        text, code = run("bgschedules", "run", "digest")
    job = Job.objects.get()
    assert (str(job.pk) in text, code) == (True, 0)
    assert (job.task, job.args, job.schedule) == ("tests.app.tasks.add", [1, 2], row.pk)
    assert Schedule.objects.get().next_at == row.next_at
    entry = HistoryEntry.objects.get()
    assert (entry.verb, entry.via) == ("schedule_run", "bgschedules")


@pytest.mark.parametrize("action", ["pause", "resume", "run"])
def test_an_unknown_name_is_refused_with_the_closest_and_nothing_is_done(action: str) -> None:
    for name in ("digest", "report-42"):
        make_schedule(name=name)
    with pytest.raises(CommandError, match=r"no schedule 'report-43'. Do you mean 'report-42'\?"):
        run("bgschedules", action, "digest", "report-43")
    assert not HistoryEntry.objects.exists()
    assert not Job.objects.exists()


def test_an_unknown_name_on_a_site_without_schedules_says_when_there_are_some() -> None:
    with pytest.raises(CommandError, match="come with the first worker"):
        run("bgschedules", "pause", "digest")


def test_a_task_that_is_gone_is_not_run() -> None:
    make_schedule(task="tests.app.tasks.removed")
    with pytest.raises(CommandError, match=r"tests\.app\.tasks\.removed"):
        run("bgschedules", "run", "digest")
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["pause"], "Name the schedules"),
        (["pause", "digest", "--json"], "--json is for the list"),
        (["stop", "digest"], "invalid choice: 'stop'"),
        (["--backend", "gone"], "--backend: "),
        (["pause", ""], "a text of 1 to 200"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], why: str) -> None:
    make_schedule()
    with pytest.raises(CommandError, match=why):
        run("bgschedules", *arguments)
    assert Schedule.objects.get().paused_at is None
