"""What people have reported of limits, locks, sequences and rates elsewhere, tried here.

The reports are named with their project and number.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F

from django_bgtasks import Limit, set_limit
from django_bgtasks.core import clock
from django_bgtasks.core.errors import DuplicateJob, InvalidArguments
from django_bgtasks.jobs.actions import (
    cancel_job,
    delete_jobs,
    retry_job,
)
from django_bgtasks.jobs.waiting import admit_waiting
from django_bgtasks.ledger.prune import prune_seats
from django_bgtasks.models import Job, Seat
from django_bgtasks.testing import run_jobs, without_redis

from .odd_tasks import (
    KEYS_ASKED,
    ask,
    change,
    close_day,
    fetch,
    go_on,
    impatient,
    in_order,
    limited,
    put_on,
    put_on_belt,
    rated,
    refresh,
)

pytestmark = pytest.mark.django_db(transaction=True)
DB, HOUR = "default", timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_messages() -> Iterator[None]:
    with without_redis():
        yield


def states() -> list[str]:
    """In the order in which the jobs were enqueued."""
    return list(Job.objects.order_by("pk").values_list("state", flat=True))


def places() -> list[int | None]:
    """In the order in which the jobs were enqueued."""
    return list(Job.objects.order_by("pk").values_list("place", flat=True))


def make_due() -> None:
    """All jobs for later are due now."""
    Job.objects.filter(state="scheduled").update(run_after=clock.now() - timedelta(seconds=1))


# Keys


@pytest.mark.parametrize("task", [limited, in_order, impatient, rated])
def test_a_batch_whose_first_call_has_no_key_keeps_the_limits_of_the_others(task: Any) -> None:
    """As in good_job 835, where no key was no case; and solid_queue 93, of many at once."""
    calls = [(None, 0), ("a", 1), ("a", 2), ("a", 3), (None, 4), ("b", 5)]
    for call in calls:
        task.using(priority=3).enqueue(*call)
    alone = Job.objects.order_by("pk")
    limits = ("state", "place", "seat", "lane", "at_once", "lane_mode", "turn", "starts", "per")
    expected = list(alone.values_list(*limits))
    alone.delete()
    task.using(priority=3).enqueue_many(calls)
    assert list(Job.objects.order_by("pk").values_list(*limits)) == expected


KEYS = [
    "ключ", "\U0001f600" * 255, " ", " a ", "a:b:c", ":", "::", "100 %s", "'\"\\", "{a}", "123",
    "null", "[1]", "a\nb",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_any_text_can_be_a_key(key: str) -> None:
    """As in good_job 612, of a key that was too long for its index."""
    for task in (limited, in_order, rated):
        task.enqueue_many([(key, number) for number in range(3)])
        assert states()[-1] == "blocked"
        Job.objects.filter(state="queued").delete()
        assert admit_waiting(DB) > 0
        Job.objects.all().delete()


def test_keys_are_equal_to_themselves_only() -> None:
    """As in good_job 622, of two keys that were one."""
    for key in ("a", "A", "á", "a\u0301", " a", "a "):
        in_order.enqueue(key)
        rated.enqueue(key)
    assert set(states()) == {"queued"}


@pytest.mark.parametrize("key", ["x" * 256, 5, ["a"], True, "a\x00b", "\ud800"])
@pytest.mark.parametrize("task", [limited, in_order, rated])
def test_what_is_no_key_is_refused_and_nothing_is_enqueued(task: Any, key: Any) -> None:
    """As in good_job 784, where it ended in the database."""
    with pytest.raises(InvalidArguments):
        task.enqueue_many([("fine", 1), (key, 2)])
    assert states() == []


def test_the_key_is_made_once_and_stays_the_same_when_the_job_is_retried() -> None:
    """As in good_job 622."""
    KEYS_ASKED.clear()
    job = in_order.enqueue("a", -1)
    run_jobs()
    retry_job(job.id)
    run_jobs()
    assert KEYS_ASKED == ["a"]
    assert Job.objects.get(pk=job.id).lane == "a"


def test_a_typed_argument_can_be_named_in_a_key() -> None:
    close_day.enqueue(date(2026, 3, 1))
    assert Job.objects.get().lane == "day:2026-03-01"


def test_jobs_without_a_key_neither_wait_nor_count() -> None:
    """As in oban 792, and bull 1084, of one that was delayed when it was retried."""
    for _ in range(3):
        rated.enqueue(None)
        rated.enqueue("")
    rated.enqueue("a")
    assert set(states()) == {"queued"}
    assert len(run_jobs()) == 7
    assert not Seat.objects.exclude(rate="a").exists()


# Places that are lost, or used twice


def test_another_key_is_not_held_up_by_a_long_line() -> None:
    """As in sidekiq-throttled 94, and celery 8119."""
    limited.enqueue_many([("a", number) for number in range(200)])
    limited.enqueue("b")
    assert Job.objects.get(lane="b").state == "queued"


def test_to_wait_costs_no_attempt_and_leaves_no_error() -> None:
    """As in good_job 603 and 838, dramatiq 257, and sidekiq 3943."""
    limited.enqueue_many([("a", number) for number in range(8)])
    waited = Job.objects.filter(state="blocked")
    ids = list(waited.values_list("pk", flat=True))
    for _ in range(5):
        admit_waiting(DB)
    assert set(waited.values_list("attempt", "claims", "error_code")) == {(0, 0, "")}
    run_jobs()
    ended = Job.objects.filter(pk__in=ids)
    assert set(ended.values_list("state", "attempt")) == {("succeeded", 1)}


def test_who_is_enqueued_while_the_only_place_is_left_gets_in() -> None:
    """As in solid_queue 689: neither of the two sees what the other has not committed."""
    first = in_order.enqueue("a")
    with transaction.atomic():
        in_order.enqueue("a")
        cancel_job(first.id)
    assert states() == ["cancelled", "queued"]


def test_a_cancelled_or_deleted_job_is_in_nobodys_way() -> None:
    """As in celery-singleton 29, hatchet 1324, and solid_queue 761, of places freed twice."""
    jobs = [limited.enqueue("a", number).job for number in range(7)]
    cancel_job(jobs[2].pk)
    cancel_job(jobs[0].pk)
    delete_jobs({jobs[3].pk: "queued", jobs[4].pk: "blocked"})
    assert sorted(place for place in places() if place) == [1, 2]
    assert states() == ["cancelled", "queued", "cancelled", "queued", "blocked"]


def test_one_that_expires_while_it_waits_or_holds_a_place_lets_the_others_move_up() -> None:
    """As in hatchet 1324, of a time for the start that had passed."""
    soon = in_order.using(expires=HOUR)
    soon.enqueue("a", 1)
    soon.enqueue("a", 2)
    in_order.enqueue("a", 3)
    Job.objects.filter(expires_at__isnull=False).update(expires_at=clock.now() - HOUR)
    assert [job.args[1] for job in run_jobs()] == [3]
    assert states() == ["cancelled", "cancelled", "succeeded"]


def test_one_for_later_is_not_waited_for() -> None:
    """As in procrastinate 1599."""
    in_order.using(run_after=clock.now() + HOUR).enqueue("a", 1)
    in_order.enqueue("a", 2)
    assert [job.args[1] for job in run_jobs()] == [2]
    in_order.enqueue("a", 3)
    make_due()
    in_order.enqueue("a", 4)
    assert [job.args[1] for job in run_jobs()] == [3, 1, 4]


def test_those_that_are_retried_at_once_run_in_their_order() -> None:
    """As in river 971."""
    jobs = [in_order.enqueue("a", number) for number in range(4)]
    for job in jobs:
        cancel_job(job.id)
    with transaction.atomic():
        for job in reversed(jobs):
            retry_job(job.id)
        in_order.enqueue("a", 4)
    assert [job.args[1] for job in run_jobs()] == [0, 1, 2, 3, 4]


def test_those_of_the_same_time_run_in_the_order_of_their_calls() -> None:
    """As in hatchet 4778, where ids and commits were in another order."""
    in_order.enqueue_many([("a", number) for number in range(30)])
    Job.objects.update(enqueued_at=clock.now())
    assert [job.args[1] for job in run_jobs()] == list(range(30))


def test_a_sequence_and_a_key_that_is_free_from_the_start_on_go_together() -> None:
    """As in procrastinate 1050 and 1543: one runs, one waits with the key, and the first fails."""
    first = refresh.enqueue("a", fails=True)
    Job.objects.filter(pk=first.id).update(dedup_slot=None)
    assert not refresh.enqueue("a").deduplicated
    assert refresh.enqueue("a").deduplicated
    assert len(run_jobs()) == 3
    assert states() == ["failed", "blocked"]
    with pytest.raises(DuplicateJob):
        retry_job(first.id)


# Whoever does not wait


def test_who_does_not_wait_is_skipped_where_the_code_lets_nobody_in() -> None:
    """As in solid_queue 804, where they heaped up."""
    impatient.enqueue("closed:1")
    impatient.enqueue_many([("closed:1", 1), ("open:1", 2)])
    assert states() == ["cancelled", "cancelled", "queued"]


@pytest.mark.parametrize("prefix", ["gate", "тор", ""])
def test_who_does_not_wait_is_skipped_where_a_person_lets_nobody_in(prefix: str) -> None:
    set_limit(f"{prefix}:2", 1)
    set_limit(prefix or "gate", 0, prefix=bool(prefix))
    keys = [f"{prefix}:1", f"{prefix}:1:1", f"{prefix}:2", f"{prefix}2:1"]
    impatient.enqueue_many([(key,) for key in keys])
    assert states() == (["cancelled"] * 2 if prefix else ["queued"] * 2) + ["queued"] * 2


def test_one_for_later_is_skipped_when_it_is_due() -> None:
    """As in solid_queue 597: until then it has no place that others could be in the way of."""
    impatient.using(run_after=clock.now() + HOUR).enqueue("a", 1)
    impatient.using(limit=Limit("a", when_busy="skip")).enqueue("a", 2)
    assert states() == ["scheduled", "queued"]
    set_limit("a", 1)
    make_due()
    Job.objects.filter(state="queued").update(state="running", worker=clock.new_id())
    run_jobs()
    assert states() == ["cancelled", "running"]


# With a dedup key


def test_who_is_replaced_by_a_call_with_another_key_gives_its_place_to_the_next() -> None:
    """As in pg-boss 309."""
    put_on.enqueue("x", "1")
    put_on.enqueue("x", "2")
    assert states() == ["queued", "blocked"]
    assert put_on.enqueue("y", "1").deduplicated
    assert (states(), places()) == (["queued", "queued"], [1, 1])


def test_who_is_put_off_gives_its_place_to_the_next() -> None:
    put_on.enqueue("x", "1")
    put_on.enqueue("x", "2")
    put_on.using(run_after=clock.now() + HOUR).enqueue("x", "1")
    assert (states(), places()) == (["scheduled", "queued"], [None, 1])


def test_who_is_replaced_by_a_call_without_a_limit_gives_its_place_to_the_next() -> None:
    put_on.enqueue("x", "1")
    put_on.enqueue("x", "2")
    put_on.using(limit=None).enqueue_many([("x", "1")])
    assert (states(), places()) == (["queued", "queued"], [None, 1])


def test_who_is_replaced_by_a_call_with_another_rate_gives_its_start_to_the_next() -> None:
    put_on_belt.enqueue("x", "1")
    put_on_belt.enqueue("x", "2")
    assert states() == ["queued", "blocked"]
    put_on_belt.enqueue("y", "1")
    assert states() == ["queued", "queued"]


def test_a_duplicate_takes_no_place() -> None:
    put_on.using(on_duplicate="return").enqueue_many([("x", "1"), ("x", "1"), ("y", "1")])
    assert (states(), places()) == (["queued"], [1])


# Transactions


def enqueue_and_fail(calls: list[tuple[str, int]]) -> None:
    """Enqueue them in a transaction, or a savepoint, that is rolled back."""
    with transaction.atomic():
        in_order.enqueue_many(calls)
        transaction.set_rollback(True)


def test_what_is_rolled_back_takes_no_place() -> None:
    in_order.enqueue("a", 1)
    enqueue_and_fail([("b", 2)])
    in_order.enqueue("b", 3)
    assert states() == ["queued", "queued"]


def test_of_a_savepoint_that_is_rolled_back_only_that_is_forgotten() -> None:
    with transaction.atomic():
        in_order.enqueue("a", 1)
        enqueue_and_fail([("a", 2), ("b", 3)])
        with transaction.atomic():
            in_order.enqueue("b", 4)
        in_order.enqueue("c", 5)
        assert states() == ["blocked"] * 3
    assert states() == ["queued"] * 3


def test_the_place_of_an_atomic_task_is_passed_on_whether_it_succeeds_or_fails() -> None:
    for fails in (True, False, True):
        change.enqueue(fails)
    assert len(run_jobs()) == 3
    assert states() == ["failed", "succeeded", "failed"]


def test_coroutines_pass_their_place_on() -> None:
    ask.enqueue_many([(number,) for number in range(3)])
    assert [job.result for job in run_jobs()] == [0, 1, 2]


def test_a_job_may_enqueue_the_next_one_of_its_own_limit() -> None:
    go_on.enqueue(4)
    assert [job.result for job in run_jobs()] == [4, 3, 2, 1, 0]


# Rates


def test_a_limit_and_a_rate_have_keys_of_their_own() -> None:
    """As in good_job 1371."""
    fetch.enqueue_many([(1,), (1,), (2,), (3,)])
    waits = list(Job.objects.order_by("pk").values_list("state", "waits_for"))
    assert waits == [("queued", ""), ("blocked", "lane"), ("queued", ""), ("blocked", "rate")]


def test_a_rate_goes_on_over_midnight() -> None:
    """As in oban 750, and bullmq 269, where it stopped after the first period."""
    for _ in range(3):
        rated.enqueue("a")
    for left in (2, 1, 0):
        assert len(run_jobs()) == 1
        assert states().count("blocked") == left
        Seat.objects.update(free_at=F("free_at") - timedelta(days=1))


def test_seats_that_are_free_are_forgotten_after_a_while() -> None:
    """A key for each visitor would leave a row for each of them for ever."""
    for key in ("a", "b"):
        rated.enqueue(key)
    run_jobs()
    assert prune_seats(DB) == 0
    Seat.objects.filter(rate="a").update(free_at=F("free_at") - 3 * HOUR)
    assert prune_seats(DB) == 1
    assert list(Seat.objects.values_list("rate", flat=True)) == ["b"]
