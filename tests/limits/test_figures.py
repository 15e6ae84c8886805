"""What people read of limits and sequences: who holds their places, who waits, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks.core import clock
from django_bgtasks.core.states import State, WaitsFor
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import Job, LimitOverride
from django_bgtasks.monitoring import limits
from django_bgtasks.monitoring.limits import (
    Counted,
    LaneFigures,
    find_lanes,
    lane_figures,
    longest_waits,
    prefix_totals,
    standing_of,
)
from django_bgtasks.testing import run_jobs

from .tasks import apply_event, call_api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB = "default"


def figures(key: str) -> LaneFigures:
    """Those of one lane."""
    [found] = lane_figures([key], DB)
    return found


def standing(job_id: Any) -> Any:
    """That of one job."""
    return standing_of(Job.objects.get(pk=job_id), DB)


def waiting_rows(count: int, lanes: int = 1, **fields: Any) -> None:
    """So many jobs that wait, one after the other in each of so many lanes."""
    now = clock.now()
    Job.objects.bulk_create(
        Job(
            **{
                "task": "t", "queue": "default", "timeout": 60, "backend": "default",
                "state": State.BLOCKED, "waits_for": WaitsFor.LANE, "at_once": 1,
                "lane_mode": "wait", "lane": f"many:{number % lanes:05}", "enqueued_at": now,
                **fields,
            }
        )
        for number in range(count)
    )  # fmt: skip


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """No more statements than these are sent."""
    with CaptureQueriesContext(connection) as queries:
        yield
    assert len(queries) <= count, [query["sql"] for query in queries]


def test_a_lane_shows_who_holds_it_and_how_many_wait() -> None:
    call_api.enqueue_many([("a", n) for n in range(5)])
    Job.objects.update(enqueued_at=clock.now() - timedelta(minutes=1))
    found = figures("api:a")
    assert (found.is_sequence, found.allowed, found.held) == (False, 2, 2)
    assert found.waiting == Counted(3)
    assert (found.oldest or 0) >= 60
    assert found.holder is None


def test_of_a_sequence_one_sees_the_holder_and_whether_it_has_failed() -> None:
    failed = apply_event.enqueue("o", 1, fails=True)
    apply_event.enqueue("o", 2)
    holder = figures("order:o").holder
    assert holder is not None
    assert str(holder.id) == failed.id
    assert not figures("order:o").is_held_by_failed
    run_jobs()
    found = figures("order:o")
    assert (found.is_held_by_failed, found.is_sequence) == (True, True)
    assert found.holder is not None
    assert found.holder.seconds is not None
    assert (found.allowed, found.waiting) == (1, Counted(1))


def test_the_wait_begins_when_the_job_is_due_and_not_when_it_was_enqueued() -> None:
    call_api.enqueue_many([("a", n) for n in range(3)])
    ago = clock.now() - timedelta(days=1)
    Job.objects.update(enqueued_at=ago, run_after=clock.now() - timedelta(minutes=1))
    assert 59 <= (figures("api:a").oldest or 0) < 3600
    [longest] = longest_waits(5, DB)
    assert 59 <= (longest.oldest or 0) < 3600


def test_the_longest_wait_is_found_behind_those_that_go_first() -> None:
    call_api.enqueue_many([("a", n) for n in range(3)])
    Job.objects.update(enqueued_at=clock.now() - timedelta(hours=1))
    call_api.using(priority=5).enqueue("a")
    assert (figures("api:a").oldest or 0) >= 3600


@pytest.mark.parametrize(
    ("key", "is_prefix", "allowed", "by"),
    [("api:a", False, 7, "key"), ("api", True, 7, "prefix"), ("api", False, 2, ""),
     ("api:a", True, 2, "")],
)  # fmt: skip
def test_what_a_person_has_said_is_what_is_allowed(
    key: str, is_prefix: bool, allowed: int, by: str
) -> None:
    call_api.enqueue("a")
    LimitOverride.objects.create(key=key, is_prefix=is_prefix, at_once=7, changed_at=clock.now())
    found = figures("api:a")
    assert (found.allowed, found.changed) == (allowed, by)


def test_of_a_key_without_jobs_only_what_a_person_has_said_is_known() -> None:
    LimitOverride.objects.create(key="api:a", at_once=7, changed_at=clock.now())
    assert figures("api:a") == LaneFigures("api:a", allowed=7, changed="key")
    assert figures("api:b") == LaneFigures("api:b")


def test_a_sequence_stays_one_at_a_time_whatever_a_person_says() -> None:
    apply_event.enqueue("o", 1)
    LimitOverride.objects.create(key="order:o", at_once=7, changed_at=clock.now())
    assert figures("order:o").allowed == 1


def test_the_lanes_in_which_most_wait_come_first() -> None:
    call_api.enqueue_many([("a", n) for n in range(3)] + [("b", n) for n in range(5)])
    apply_event.enqueue("o", 1)
    found = find_lanes(DB)
    assert found.keys == ("api:b", "api:a", "order:o")
    assert found.waiting == {
        "api:b": Counted(3), "api:a": Counted(1), "order:o": Counted(0)
    }  # fmt: skip
    assert not found.is_more
    assert find_lanes(DB, "ORDER").keys == ("order:o",)
    assert find_lanes(DB, ":b").keys == ("api:b",)


def test_nothing_is_found_where_nobody_uses_limits() -> None:
    assert find_lanes(DB).keys == ()
    assert [lane_figures([], DB), longest_waits(5, DB), prefix_totals(DB)] == [[], [], []]


def test_a_key_beyond_those_that_are_looked_at_is_found_by_how_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LANES", 3)
    waiting_rows(10, lanes=10)
    found = find_lanes(DB)
    assert (len(found.keys), found.is_more) == (3, True)
    assert "many:00008" in find_lanes(DB, "many:00008").keys


def test_those_that_wait_in_a_lane_are_counted_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "COUNTED", 5)
    waiting_rows(8)
    assert figures("many:00000").waiting == Counted(5, True)
    assert find_lanes(DB).waiting == {"many:00000": Counted(5, True)}
    last = Job.objects.order_by("-pk").first()
    assert last is not None
    assert standing(last.pk).before == Counted(5, True)


def test_no_more_statements_for_many_lanes_than_for_one() -> None:
    waiting_rows(120, lanes=40)
    apply_event.enqueue("o", 1)
    with at_most(2):
        keys = find_lanes(DB).keys
    assert len(keys) == 41
    with at_most(5):
        assert len(lane_figures(keys, DB)) == 41
    with at_most(2):
        prefix_totals(DB)
    with at_most(6):
        assert len(longest_waits(5, DB)) == 5
    last = Job.objects.filter(waits_for=WaitsFor.LANE).latest("pk")
    with at_most(4):
        standing_of(last, DB)


def test_many_on_one_key_do_not_hide_the_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST", 5)
    waiting_rows(20)
    waiting_rows(2, lanes=2)
    apply_event.enqueue("o", 1)
    apply_event.enqueue("o", 2)
    keys = {lane.key for lane in longest_waits(5, DB)}
    assert keys == {"many:00000", "many:00001", "order:o"}


def test_where_nobody_waits_the_longest_wait_costs_one_statement() -> None:
    with at_most(1):
        assert longest_waits(5, DB) == []


def test_a_job_that_waits_knows_who_is_before_it_and_who_holds_the_places() -> None:
    jobs = [call_api.enqueue("a", n) for n in range(5)]
    found = standing(jobs[4].id)
    assert (found.allowed, found.held, found.place) == (2, 2, None)
    assert found.before == Counted(2)
    assert [str(holder.id) for holder in found.holders] == [jobs[0].id, jobs[1].id]
    assert [holder.state for holder in found.holders] == ["queued", "queued"]
    assert standing(jobs[2].id).before == Counted(0)


def test_a_job_with_a_place_knows_it_and_how_many_wait() -> None:
    jobs = [call_api.enqueue("a", n) for n in range(5)]
    found = standing(jobs[1].id)
    assert (found.place, found.allowed, found.before) == (2, 2, Counted(3))


def test_a_failed_job_knows_how_many_its_sequence_keeps_waiting() -> None:
    failed = apply_event.enqueue("o", 1, fails=True)
    for number in range(3):
        apply_event.enqueue("o", number)
    run_jobs()
    found = standing(failed.id)
    assert (found.place, found.before, found.is_sequence) == (1, Counted(3), True)


def test_a_job_without_a_limit_has_no_standing() -> None:
    waiting_rows(1, lane=None, waits_for="", state=State.QUEUED, lane_mode="", at_once=None)
    assert standing(Job.objects.get().pk) is None


def test_those_of_a_paused_queue_are_not_before_others_in_a_limit() -> None:
    call_api.enqueue_many([("a", n) for n in range(2)])
    paused = call_api.using(queue_name="emails").enqueue("a")
    last = call_api.enqueue("a")
    pause_queue("emails")
    assert standing(last.id).before == Counted(0)
    assert [standing(job.id).is_paused for job in (paused, last)] == [True, False]


def test_what_holds_and_waits_is_summed_by_prefix() -> None:
    call_api.enqueue_many([(account, n) for n in range(4) for account in "ab"])
    apply_event.enqueue("o", 1)
    waiting_rows(1, lane="alone")
    found = {one.prefix: (one.held, one.waiting) for one in prefix_totals(DB)}
    assert found == {"api": (4, 4), "order": (1, 0), "alone": (0, 1)}


def test_prefixes_beyond_a_bound_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PREFIXES", 1)
    waiting_rows(2, lane="x:1")
    waiting_rows(1, lane="y:1")
    waiting_rows(1, lane="z")
    assert [(one.prefix, one.waiting) for one in prefix_totals(DB)] == [("x", 2), (None, 2)]
