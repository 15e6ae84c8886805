"""Maintenance adds up what has ended: each job once, however many add up, and late ones too."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models import F, Sum
from django.test.utils import CaptureQueriesContext

from django_bgtasks import run_job_now, testing
from django_bgtasks.core import clock
from django_bgtasks.models import Job, RollUp
from django_bgtasks.worker.maintenance import rollups
from tests.interfaces.rows import make_job
from tests.threads import in_threads

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"


def ended(
    state: str = "succeeded", ago: float = 1.0, wait: float = 1.0, run: float = 2.0, **more: Any
) -> Job:
    """A job that ended `ago` seconds ago, after it had waited and run so long."""
    end = clock.now() - timedelta(seconds=ago)
    start = end - timedelta(seconds=run)
    fields = {"task": "shop.tasks.send", "queue": "default", "attempt": 1, "backend": "default"}
    return Job.objects.create(
        state=state,
        enqueued_at=start - timedelta(seconds=wait),
        finished_at=end,
        timeout=60,
        **{**fields, "started_at": start, **more},
    )


def totals(span: int = 1) -> dict[str, int]:
    names = ("jobs", "succeeded", "failed", "cancelled")
    found = RollUp.objects.filter(span=span).aggregate(**{name: Sum(name) for name in names})
    return {name: found[name] or 0 for name in names}


def test_each_ended_job_is_counted_by_its_outcome_in_each_span() -> None:
    for state in ("succeeded", "succeeded", "failed", "cancelled"):
        ended(state)
    assert rollups.run_once(DB) >= 3
    for span in (1, 10, 60):
        assert totals(span) == {"jobs": 4, "succeeded": 2, "failed": 1, "cancelled": 1}


def test_a_second_tick_changes_nothing() -> None:
    ended()
    rollups.run_once(DB)
    before = list(RollUp.objects.order_by("pk").values())
    assert rollups.run_once(DB) == 0
    assert list(RollUp.objects.order_by("pk").values()) == before


def test_maintenances_that_add_up_at_once_count_each_job_once() -> None:
    jobs = [ended(queue=f"q{n % 3}", task=f"shop.tasks.t{n % 4}") for n in range(24)]
    in_threads(*[partial(rollups.run_once, DB)] * 4)
    # One that came between may have been told to wait for the next time.
    rollups.run_once(DB)
    for span in (1, 10, 60):
        assert totals(span)["jobs"] == len(jobs)
    rows = RollUp.objects.filter(span=60).values("queue", "task").annotate(n=Sum("jobs"))
    assert {row["n"] for row in rows} == {2}


def test_a_settlement_that_commits_late_is_counted_in_its_own_minute() -> None:
    ended(ago=600)
    rollups.run_once(DB, 60)
    ended("failed", ago=590)
    assert rollups.run_once(DB) == 0, "it is behind what the usual run_once looks at"
    assert rollups.run_once(DB, 60)
    assert totals() == {"jobs": 2, "succeeded": 1, "failed": 1, "cancelled": 0}
    assert totals(60)["jobs"] == 2


def test_what_a_person_runs_again_stays_counted() -> None:
    job = ended("failed")
    rollups.run_once(DB)
    Job.objects.filter(pk=job.pk).update(state="queued", finished_at=None)
    rollups.run_once(DB)
    assert totals()["failed"] == 1


def test_a_host_that_was_slow_takes_nothing_back() -> None:
    ended()
    rollups.run_once(DB)
    RollUp.objects.update(jobs=F("jobs") + 1, succeeded=F("succeeded") + 1)
    ended("failed")
    rollups.run_once(DB)
    assert totals()["jobs"] == 2


def test_times_are_kept_in_classes() -> None:
    ended(wait=0.02, run=0.2)
    ended(wait=7200, run=40)
    ended("cancelled", started_at=None)
    rollups.run_once(DB)
    row = RollUp.objects.filter(span=60).order_by("minute").last()
    assert row is not None
    assert sum(row.waits) == sum(row.runs) == 2
    assert row.waits[1] == row.waits[-1] == 1
    assert row.runs[4] == row.runs[11] == 1
    assert row.wait_seconds == pytest.approx(7200.02, abs=0.01)
    assert row.run_seconds == pytest.approx(40.2, abs=0.01)


def test_a_job_that_was_run_again_by_hand_did_not_wait_since_it_was_enqueued() -> None:
    ended(wait=86400, attempt=2)
    rollups.run_once(DB)
    row = RollUp.objects.filter(span=1).get()
    assert (sum(row.waits), sum(row.runs)) == (0, 1)


def test_old_figures_are_forgotten_and_hours_longest() -> None:
    ended()
    rollups.run_once(DB)
    minute = RollUp.objects.filter(span=1).get().minute
    for span, days in ((1, 1), (10, 2), (10, 4), (60, 30), (60, 36)):
        old = RollUp.objects.filter(span=1, minute=minute).get()
        old.pk, old.span, old.minute = None, span, minute - days * 1440
        old.save(force_insert=True)
    rollups.RollUps(DB).run_once()
    rows = RollUp.objects.filter(span__gt=0, minute__lt=minute - 60).values_list("span", "minute")
    assert {(span, (minute - at) // 1440) for span, at in rows} == {(10, 2), (60, 30)}


def test_an_idle_tick_is_four_reads() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert rollups.run_once(DB) == 0
    assert len(queries) <= 4
    assert all(query["sql"].lstrip().upper().startswith("SELECT") for query in queries)


def test_the_more_there_is_to_count_the_longer_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((0.0, 1.0, 1000.0, 1000.1))
    monkeypatch.setattr(clock, "monotonic", lambda: next(moments))
    task = rollups.RollUps(DB)
    assert task.run_once() == pytest.approx(50)
    assert task.run_once() == pytest.approx(10)


@pytest.mark.parametrize("attempt", [0, 1])
def test_a_job_that_somebody_runs_now_has_waited_since_then(attempt: int) -> None:
    now = clock.now()
    times = {"enqueued_at": now - timedelta(seconds=466), "run_after": now + timedelta(hours=1)}
    job = make_job("scheduled", task="tests.app.tasks.add", args=[1, 2], attempt=attempt, **times)
    with testing.without_redis():
        run_job_now(job.pk)
        testing.run_jobs(["default"])
    assert Job.objects.get().state == "succeeded"
    rollups.run_once(DB)
    assert RollUp.objects.get(span=1).wait_seconds < 60
