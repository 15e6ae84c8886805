"""At most one live job per key, and what a second call gets."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest
import redis
from django.db import transaction

from django_bgtasks import DuplicateJob, job_deduplicated
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import cancel_job, retry_job
from django_bgtasks.ledger.connection import in_transaction
from django_bgtasks.ledger.lifecycle import ledger_database
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.named import waiting_in
from tests.threads import in_threads

from .tasks import once_an_hour, until_started, welcome

pytestmark = pytest.mark.django_db
with_commits = pytest.mark.django_db(transaction=True)


def test_a_second_call_gets_the_live_job() -> None:
    first, second = welcome.enqueue(7), welcome.enqueue(7)
    assert (first.deduplicated, second.deduplicated) == (False, True)
    assert first.id == second.id
    assert second.job == Job.objects.get()


def test_another_key_is_another_job() -> None:
    assert welcome.enqueue(7).id != welcome.enqueue(8).id


def test_a_live_key_is_free_when_its_job_is_final() -> None:
    first = welcome.enqueue(7)
    run_jobs()
    assert welcome.enqueue(7).id != first.id


def test_a_queued_key_is_free_when_its_job_starts() -> None:
    first = until_started.enqueue(7)
    assert until_started.enqueue(7).deduplicated
    Job.objects.filter(pk=first.id).update(state="running", dedup_slot=None)
    assert not until_started.enqueue(7).deduplicated


def test_a_window_holds_its_key_after_the_job_and_until_its_end() -> None:
    first = once_an_hour.enqueue(7)
    run_jobs()
    assert once_an_hour.enqueue(7).id == first.id
    Job.objects.update(dedup_until=clock.now() - timedelta(seconds=1))
    assert once_an_hour.enqueue(7).id != first.id


def test_the_key_of_one_call_can_be_given_with_using() -> None:
    shared = partial(welcome.using, dedup_key="all")
    assert shared().enqueue(1).id == shared().enqueue(2).id


def test_raise_says_which_job_holds_the_key_and_enqueues_nothing() -> None:
    first = welcome.enqueue(7)
    with pytest.raises(DuplicateJob, match=r"holds the dedup key '7'.*Nothing was") as refusal:
        welcome.using(on_duplicate="raise").enqueue(7)
    assert str(refusal.value.job_id) == first.id


def test_replace_gives_the_waiting_job_the_new_arguments() -> None:
    first = welcome.enqueue(7, "hello")
    second = welcome.using(on_duplicate="replace", priority=9).enqueue(7, "good evening")
    assert (second.id, second.deduplicated, second.args) == (first.id, True, [7, "good evening"])
    assert [job.result for job in run_jobs()] == ["good evening 7"]


def test_replace_with_a_time_is_a_debounce() -> None:
    debounced = partial(welcome.using, on_duplicate="replace")
    soon, later = (clock.now() + timedelta(minutes=m) for m in (1, 2))
    first = debounced(run_after=soon).enqueue(7)
    second = debounced(run_after=later).enqueue(7)
    assert (second.id, second.job.run_after, second.job.state) == (first.id, later, "scheduled")
    assert debounced().enqueue(7).job.state == "queued"


def test_replace_leaves_a_running_job_as_it_is() -> None:
    first = welcome.enqueue(7, "hello")
    Job.objects.update(state="running")
    second = welcome.using(on_duplicate="replace").enqueue(7, "good evening")
    assert (second.id, second.args) == (first.id, [7, "hello"])


@with_commits
def test_a_replaced_job_is_dispatched_where_it_now_belongs(redis_client: redis.Redis) -> None:
    result = welcome.enqueue(7)
    welcome.using(on_duplicate="replace", priority=9).enqueue(7)
    assert redis_client.lrange(waiting_in("default-p9"), 0, -1) == [result.id.encode()]


def test_receivers_are_told_of_a_duplicate() -> None:
    ids: list[Any] = []

    def receiver(task_result: Any, **kwargs: Any) -> None:
        ids.append(task_result.id)

    job_deduplicated.connect(receiver)
    try:
        results = [welcome.enqueue(7) for _ in range(2)]
    finally:
        job_deduplicated.disconnect(receiver)
    assert ids == [results[0].id]


def test_a_manual_retry_is_refused_while_a_newer_job_holds_the_key() -> None:
    first = welcome.enqueue(7)
    cancel_job(first.id)
    second = welcome.enqueue(7)
    with pytest.raises(DuplicateJob, match=rf"job {second.id}, which is queued"):
        retry_job(first.id)
    cancel_job(second.id)
    assert retry_job(first.id).state == "queued"


@with_commits
def test_fifty_calls_with_one_key_at_the_same_moment_are_one_job() -> None:
    def call() -> tuple[str, bool]:
        with without_redis():
            result = welcome.enqueue(7)
        return result.id, result.deduplicated

    results = in_threads(*[call] * 50)
    assert {result_id for result_id, _ in results} == {str(Job.objects.get().pk)}
    assert sum(not deduplicated for _, deduplicated in results) == 1


@with_commits
def test_calls_inside_of_transactions_are_one_job_too() -> None:
    def call() -> str:
        # Above READ COMMITTED a caller may have to try its transaction again.
        with without_redis():
            return in_transaction(lambda: welcome.enqueue(7).id, ledger_database())

    assert set(in_threads(*[call] * 12)) == {str(Job.objects.get().pk)}


@with_commits
def test_when_the_winner_rolls_back_the_next_call_wins() -> None:
    inserted, trying = Event(), Event()

    def first() -> bool:
        with without_redis(), transaction.atomic():
            deduplicated = welcome.enqueue(7, "first").deduplicated
            inserted.set()
            assert trying.wait(20)
            transaction.set_rollback(True)
        return deduplicated

    def second() -> bool:
        assert inserted.wait(20)
        trying.set()
        with without_redis():
            return welcome.enqueue(7, "second").deduplicated

    assert in_threads(first, second) == [False, False]
    assert Job.objects.get().args == [7, "second"]


@with_commits
def test_calls_and_endings_at_the_same_moment_leave_one_live_job_at_most() -> None:
    def call() -> None:
        with without_redis():
            for _ in range(10):
                welcome.enqueue(7)
                run_jobs()

    in_threads(*[call] * 4)
    assert Job.objects.live().count() == 0
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
