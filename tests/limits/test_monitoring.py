"""What bgstatus and its colleagues say of jobs that wait for a place."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks import oldest_age
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import cancel_job, run_job_anyway
from django_bgtasks.models import Job, LimitOverride
from django_bgtasks.monitoring import waits
from django_bgtasks.monitoring.waits import NOBODY_WAITS, take_waits
from django_bgtasks.testing import run_jobs, without_redis

from .tasks import apply_event, call_api, read_feed, send_mail

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_messages():  # type: ignore[no-untyped-def]
    with without_redis():
        yield


def bgstatus(*options: str) -> str:
    out = StringIO()
    with suppress(SystemExit):
        call_command("bgstatus", *options, stdout=out)
    return out.getvalue()


def held_sequence(order: str = "o") -> Job:
    """Two events wait behind one that failed ten minutes ago."""
    failed = apply_event.enqueue(order, 1, fails=True)
    run_jobs()
    Job.objects.filter(pk=failed.id).update(finished_at=clock.now() - timedelta(minutes=10))
    for event in (2, 3):
        apply_event.enqueue(order, event)
    return Job.objects.get(pk=failed.id)


def test_bgstatus_lists_those_that_wait_longest(redis_client: object) -> None:
    failed = held_sequence()
    call_api.enqueue_many([("a", n) for n in range(5)])
    call_api.enqueue_many([("b", n) for n in range(3)])
    Job.objects.filter(lane="api:b").update(enqueued_at=clock.now() - timedelta(hours=2))
    table = bgstatus().partition("Waiting for a place\n")[2].partition("\n\n")[0]
    rows = {line.split()[0]: line.split() for line in table.splitlines()}
    assert [*rows][:2] == ["key", "api:b"]
    assert rows["api:b"][1:3] == ["1", "2"]
    assert (rows["api:a"][1], rows["api:a"][-2:]) == ("3", ["2", "2"])
    assert rows["order:o"][-1] == str(failed.pk)


def test_bgstatus_says_nothing_of_limits_where_nobody_waits(redis_client: object) -> None:
    call_api.enqueue("a")
    assert "Waiting for a place" not in bgstatus()


def test_bgstatus_as_json_has_them_too(redis_client: object) -> None:
    failed = held_sequence()
    found = json.loads(bgstatus("--json"))
    [lane] = found["waits"]["lanes"]
    assert (lane["key"], lane["waiting"], lane["held_by"]) == ("order:o", 2, str(failed.pk))
    [problem] = [one for one in found["problems"] if one["code"] == "sequence-held"]
    assert (problem["params"]["job"], problem["params"]["count"]) == (str(failed.pk), 1)
    assert problem["command"] == f"python manage.py bgretry {failed.pk}"


def test_the_cure_of_a_held_sequence_lets_it_go_on(redis_client: object) -> None:
    failed = held_sequence()
    Job.objects.filter(pk=failed.pk).update(kwargs={})
    [problem] = [
        one for one in json.loads(bgstatus("--json"))["problems"] if one["code"] == "sequence-held"
    ]
    _python, _manage, command, *words = problem["command"].split()
    call_command(command, *words, stdout=StringIO())
    assert [job.args[1] for job in run_jobs()] == [1, 2, 3]
    assert take_waits("default") == NOBODY_WAITS


def test_many_held_sequences_are_counted_and_the_first_is_named() -> None:
    first = held_sequence("a")
    Job.objects.filter(pk=first.pk).update(finished_at=clock.now() - timedelta(hours=1))
    held_sequence("b")
    found = take_waits("default")
    assert found.held_sequences == 2
    assert found.first_held is not None
    assert (found.first_held.key, found.first_held.job) == ("order:a", str(first.pk))


def test_one_that_does_not_hold_or_is_waited_for_by_nobody_is_none() -> None:
    read_feed.using(retry=None, sequence="feed:{feed}").enqueue("f", fails=True)
    apply_event.enqueue("alone", 1, fails=True)
    run_jobs()
    call_api.enqueue_many([("a", n) for n in range(3)])
    assert take_waits("default").held_sequences == 0


def test_a_limit_of_nought_is_seen_with_the_person_who_made_it_so() -> None:
    LimitOverride.objects.create(key="api:a", at_once=0, changed_at=clock.now())
    call_api.enqueue("a")
    [lane] = take_waits("default").lanes
    assert (lane.allowed, lane.changed, lane.in_use) == (0, True, 0)


def test_only_the_first_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "LISTED", 2)
    for account in "abcd":
        call_api.enqueue_many([(account, n) for n in range(3)])
    assert len(take_waits("default").lanes) == 2


def test_where_nobody_waits_it_is_one_statement(redis_client: Any) -> None:
    call_api.enqueue("a")
    with CaptureQueriesContext(connection) as captured:
        assert take_waits("default") == NOBODY_WAITS
    assert len(captured) == 1


def test_a_job_that_has_waited_long_for_its_place_is_no_backlog_of_its_queue(
    redis_client: object,
) -> None:
    """A place that is free says nothing of the workers: they have had no time to take it up."""
    first, second, *_next, anyway = (call_api.enqueue("a", n) for n in range(5))
    Job.objects.update(enqueued_at=clock.now() - timedelta(hours=2))
    for ended in (first, second):
        cancel_job(ended.id)
    run_job_anyway(anyway.id)
    assert oldest_age("default") == pytest.approx(0, abs=60)
    assert "Start more workers" not in bgstatus()


def test_bgstatus_lists_the_rates_that_are_waited_for_and_when_the_next_starts(
    redis_client: object,
) -> None:
    send_mail.enqueue_many([("a",)] * 5)
    assert len(run_jobs()) == 3
    table = bgstatus().partition("Waiting for a start\n")[2].partition("\n\n")[0]
    head, row = table.splitlines()
    assert head.split() == ["key", "waiting", "oldest", "started", "allowed", "next", "start"]
    assert row.split()[:2] == ["mail:a", "2"]
    assert "3 / 1 min 0 s" in row
    assert " in " in row
    [rate] = json.loads(bgstatus("--json"))["waits"]["rates"]
    assert (rate["key"], rate["waiting"], rate["started"], rate["allowed"]) == ("mail:a", 2, 3, 3)
    assert 50 < rate["next_start"] < 61
