"""Totals only grow: each job is counted once, whatever is forgotten and however many count."""

from __future__ import annotations

from functools import partial

import pytest
from django.db.models import F

from django_bgtasks.models import Job, RollUp
from django_bgtasks.monitoring import rollups, totals
from django_bgtasks.worker.maintenance import rollups as rollup_task
from tests.threads import in_threads

from .test_rollups import DB, ended

pytestmark = pytest.mark.django_db(transaction=True)
DAY = 24 * 60


def counted() -> dict[str, int]:
    return {row.task: row.jobs for row in totals.totals("default", DB)}


def age(minutes: int) -> None:
    """Let so many minutes pass by, and the jobs with them."""
    Job.objects.all().delete()
    for row in RollUp.objects.filter(span__gt=0):
        RollUp.objects.filter(pk=row.pk).update(minute=F("minute") - minutes)


def in_totals() -> int:
    return sum(row.jobs for row in RollUp.objects.filter(span=0).exclude(backend=""))


def test_what_has_just_ended_is_in_the_total_and_in_no_row_of_it_yet() -> None:
    ended(task="a")
    ended("failed", task="b")
    rollup_task.run_once(DB)
    assert totals.advance(DB) == 0
    assert (counted(), in_totals()) == ({"a": 1, "b": 1}, 0)


def test_a_total_outlives_the_figures_of_which_it_was_made() -> None:
    for task in ("a", "a", "b"):
        ended(task=task)
    rollup_task.run_once(DB)
    age(40 * DAY)
    assert counted() == {"a": 2, "b": 1}
    assert totals.advance(DB) == 2
    assert (counted(), in_totals()) == ({"a": 2, "b": 1}, 3)
    RollUp.objects.filter(span__gt=0).delete()
    assert counted() == {"a": 2, "b": 1}
    [a, _] = totals.totals("default", DB)
    assert (a.succeeded, sum(a.waits), sum(a.runs)) == (2, 2, 2)
    assert a.wait_seconds == pytest.approx(2, abs=0.1)
    assert a.run_seconds == pytest.approx(4, abs=0.1)


def test_hosts_that_add_at_once_count_nothing_twice() -> None:
    jobs = [ended(task=f"t{n % 3}") for n in range(9)]
    rollup_task.run_once(DB)
    age(2 * totals.FINISHED_AFTER)
    grown = in_threads(*[partial(totals.advance, DB)] * 4)
    assert sorted(grown) == [0, 0, 0, 3]
    assert in_totals() == sum(counted().values()) == len(jobs)
    assert RollUp.objects.filter(span=0, backend="").count() == 1


def test_who_reads_while_others_add_sees_no_total_fall() -> None:
    jobs = [ended(task=f"t{n % 3}") for n in range(6)]
    rollup_task.run_once(DB)
    age(2 * totals.FINISHED_AFTER)

    def look() -> set[int]:
        return {sum(counted().values()) for _ in range(20)}

    for found in in_threads(look, partial(totals.advance, DB), look)[::2]:
        assert found == {len(jobs)}


def test_no_minute_is_forgotten_before_it_is_in_the_totals() -> None:
    ended(task="a")
    rollup_task.run_once(DB)
    age(2 * DAY)
    ended(task="b")
    rollup_task.run_once(DB)
    assert rollups.prune_rollups(DB, totals.watermark(DB)) == 0
    assert rollup_task.RollUps(DB).run_once() > 0
    assert not RollUp.objects.filter(span=1, task="a").exists()
    assert counted() == {"a": 1, "b": 1}


def test_a_total_that_would_not_fit_begins_again() -> None:
    ended(task="a")
    rollup_task.run_once(DB)
    age(2 * totals.FINISHED_AFTER)
    totals.advance(DB)
    RollUp.objects.filter(span=0, task="a").update(jobs=totals.LARGEST)
    RollUp.objects.filter(span=0, backend="").update(jobs=F("jobs") - 1)
    RollUp.objects.filter(span=1).update(minute=totals.watermark(DB))
    assert totals.advance(DB) == 1
    assert RollUp.objects.get(span=0, task="a").jobs == 1
