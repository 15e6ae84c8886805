"""Who gets a place at a limit or in a sequence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_bgtasks import Limit, Rate
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import (
    cancel_job,
    pause_queue,
    release_sequence,
    resume_queue,
    retry_job,
    run_job_anyway,
)
from django_bgtasks.jobs.waiting import admit_waiting
from django_bgtasks.models import Job, LimitOverride
from django_bgtasks.testing import run_jobs, without_redis

from .tasks import apply_event, apply_payment, ask_again, call_api, read_feed, update_device

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"


@pytest.fixture(autouse=True)
def _no_messages():  # type: ignore[no-untyped-def]
    with without_redis():
        yield


def standing() -> list[tuple[str, int | None]]:
    """State and place of each job, in the order in which they were enqueued."""
    return list(Job.objects.order_by("pk").values_list("state", "place"))


def test_as_many_as_the_limit_allows_are_queued_and_the_others_wait() -> None:
    for number in range(4):
        call_api.enqueue("a", number)
    call_api.enqueue("b")
    assert standing() == [
        ("queued", 1), ("queued", 2), ("blocked", None), ("blocked", None), ("queued", 1)
    ]  # fmt: skip


def test_many_at_once_are_admitted_in_their_order() -> None:
    call_api.enqueue_many([("a", n) for n in range(3)] + [("b", 0)])
    assert standing() == [("queued", 1), ("queued", 2), ("blocked", None), ("queued", 1)]


def test_all_of_them_run_in_the_end() -> None:
    call_api.enqueue_many([("a", n) for n in range(10)])
    assert len(run_jobs()) == 10
    assert set(standing()) == {("succeeded", None)}


def test_a_place_is_passed_on_to_the_first_that_waits() -> None:
    first, _second, third, _last = (call_api.enqueue("a", n) for n in range(4))
    cancel_job(first.id)
    assert standing()[:3] == [("cancelled", None), ("queued", 2), ("queued", 1)]
    assert third.job.state == "blocked"


def test_a_higher_priority_goes_first_in_a_limit_and_not_in_a_sequence() -> None:
    jobs = [call_api.enqueue("a") for _ in range(3)]
    urgent = call_api.using(priority=10).enqueue("a")
    cancel_job(jobs[0].id)
    assert Job.objects.get(pk=urgent.id).place == 1
    events = [apply_event.enqueue("o", n) for n in range(2)]
    late = apply_event.using(priority=10).enqueue("o", 2)
    cancel_job(events[0].id)
    assert Job.objects.get(pk=events[1].id).place == 1
    assert Job.objects.get(pk=late.id).place is None


def test_a_job_that_does_not_wait_is_cancelled_when_its_limit_is_full() -> None:
    update_device.enqueue("d")
    update_device.enqueue("d")
    assert standing() == [("queued", 1), ("cancelled", None)]
    assert Job.objects.get(state="cancelled").error_code == "busy"


def test_a_failed_job_holds_its_sequence_until_somebody_lets_it_go_on() -> None:
    failed = apply_event.enqueue("o", 1, fails=True)
    apply_event.enqueue("o", 2)
    run_jobs()
    assert standing() == [("failed", 1), ("blocked", None)]
    release_sequence(failed.id)
    assert standing() == [("failed", None), ("queued", 1)]


def test_a_retried_job_goes_on_with_the_place_that_it_has_kept() -> None:
    failed = apply_event.enqueue("o", 1, fails=True)
    apply_event.enqueue("o", 2)
    run_jobs()
    retry_job(failed.id)
    assert standing() == [("queued", 1), ("blocked", None)]


def test_a_sequence_keeps_its_place_until_the_delayed_retry() -> None:
    read_feed.enqueue("f", fails=True)
    read_feed.enqueue("f")
    run_jobs()
    assert standing() == [("scheduled", 1), ("blocked", None)]
    Job.objects.filter(state="scheduled").update(run_after=clock.now() - timedelta(seconds=1))
    run_jobs()
    assert standing() == [("failed", None), ("succeeded", None)]


def test_a_limit_gives_the_place_to_others_until_the_delayed_retry() -> None:
    for _ in range(3):
        ask_again.enqueue("a")
    run_jobs()
    assert standing() == [("scheduled", None)] * 3
    Job.objects.update(run_after=clock.now() - timedelta(seconds=1))
    ask_again.enqueue("a")
    assert standing()[3] == ("queued", 1)


def test_a_job_for_later_lines_up_when_it_is_due() -> None:
    later = call_api.using(run_after=clock.now() + timedelta(hours=1)).enqueue("a")
    assert later.job.state == "scheduled"
    Job.objects.update(run_after=clock.now() - timedelta(seconds=1))
    assert len(run_jobs()) == 1


def test_one_can_be_run_without_a_place() -> None:
    jobs = [call_api.enqueue("a") for _ in range(3)]
    run_job_anyway(jobs[2].id)
    assert standing() == [("queued", 1), ("queued", 2), ("queued", None)]


def test_a_paused_queue_holds_no_places() -> None:
    call_api.using(queue_name="emails").enqueue("a")
    call_api.using(queue_name="emails").enqueue("a")
    call_api.using(queue_name="uploads").enqueue("a")
    pause_queue("emails")
    assert standing() == [("blocked", None), ("blocked", None), ("queued", 1)]
    resume_queue("emails")
    assert standing() == [("queued", 2), ("blocked", None), ("queued", 1)]


@pytest.mark.parametrize(
    ("key", "is_prefix", "at_once", "queued"),
    [
        ("api:a", False, 3, 3), ("api", True, 3, 3), ("api:b", False, 3, 2), ("api:a", False, 1, 1),
        ("api:a", False, 0, 0), ("api:a", True, 3, 2),
    ],
)  # fmt: skip
def test_what_a_person_says_of_a_limit_counts(
    key: str, is_prefix: bool, at_once: int, queued: int
) -> None:
    LimitOverride.objects.create(
        key=key, is_prefix=is_prefix, at_once=at_once, changed_at=clock.now()
    )
    call_api.enqueue_many([("a", n) for n in range(5)])
    assert Job.objects.filter(state="queued").count() == queued


def test_a_lowered_limit_lets_in_nobody_while_more_than_it_allows_have_places() -> None:
    override = LimitOverride.objects.create(key="api:a", at_once=4, changed_at=clock.now())
    jobs = [call_api.enqueue("a", n) for n in range(6)]
    override.at_once = 2
    override.save()
    cancel_job(jobs[0].id)
    cancel_job(jobs[1].id)
    assert [place for _, place in standing()] == [None, None, 3, 4, None, None]
    cancel_job(jobs[2].id)
    assert [place for _, place in standing()] == [None, None, None, 4, 1, None]


def test_the_sweep_finds_what_nobody_has_looked_for() -> None:
    call_api.enqueue_many([("a", n) for n in range(3)])
    Job.objects.filter(place=1).delete()
    assert admit_waiting(DB) == 1
    assert standing() == [("queued", 2), ("queued", 1)]


def test_a_job_that_is_queued_again_in_a_paused_queue_gives_its_place_up_soon() -> None:
    paused = call_api.using(queue_name="emails").enqueue("a")
    pause_queue("emails")
    other = call_api.using(queue_name="uploads")
    other.enqueue_many([("a",)] * 3)
    Job.objects.filter(place=2).delete()
    # As by a worker that releases it, or by an admission that was under way.
    Job.objects.filter(pk=paused.id).update(state="queued", waits_for="", place=2)
    admit_waiting(DB)
    assert Job.objects.get(pk=paused.id).state == "blocked"
    assert Job.objects.filter(state="queued", queue="uploads").count() == 2


def test_a_job_that_has_begun_waits_for_its_next_attempt_though_it_would_not_have_waited() -> None:
    update_device.enqueue("d")
    begun = update_device.using(run_after=clock.now() + timedelta(hours=1)).enqueue("d")
    row = Job.objects.filter(pk=begun.id)
    row.update(state="blocked", waits_for="lane", claims=1)
    assert admit_waiting(DB, 0.0) == 0
    assert row.get().state == "blocked"
    row.update(claims=0)
    admit_waiting(DB, 0.0)
    assert row.get().state == "cancelled"


def test_tasks_that_share_a_key_each_keep_to_their_own_number() -> None:
    event = apply_event.using(sequence="shared")
    call = call_api.using(limit=Limit("shared", at_once=3))
    event.enqueue("o", 1)
    call.enqueue_many([("a",)] * 2)
    event.enqueue("o", 2)
    call.enqueue("a")
    assert [place for _, place in standing()] == [1, 2, 3, None, None]
    for job in Job.objects.filter(place__gt=1):
        cancel_job(job.pk)
    # The next in line is of the sequence, whose other job has not ended; nobody passes it.
    assert [place for _, place in standing()] == [1, None, None, None, None]
    cancel_job(Job.objects.get(place=1).pk)
    admit_waiting(DB)
    assert [place for _, place in standing()] == [None, None, None, 1, 2]


def test_calls_without_a_key_change_nothing_for_those_that_follow_them() -> None:
    """Each of many calls has what a call alone has."""
    mixed = apply_payment.using(
        sequence=lambda payer: payer or None, rate=Rate(lambda payer: payer or None, 1, per=60)
    )
    mixed.using(priority=3).enqueue_many([("",), ("a",), ("a",)])
    mixed.using(priority=3).enqueue("a")
    mixed.using(priority=3).enqueue("")
    columns = ("lane", "lane_mode", "at_once", "turn", "rate", "starts", "per")
    rows = list(Job.objects.order_by("pk").values_list(*columns))
    assert rows[0] == rows[4]
    assert rows[1] == rows[2] == rows[3]
    assert [place for _, place in standing()] == [None, 1, None, None, None]
