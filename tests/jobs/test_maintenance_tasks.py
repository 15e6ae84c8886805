"""The background tasks: each run_once repairs what it finds and is safe to run twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.db import connection

from django_bgtasks import job_rescued
from django_bgtasks.core import clock
from django_bgtasks.core.messages import Reason
from django_bgtasks.core.outcomes import DeathCause
from django_bgtasks.ledger.lifecycle import claim
from django_bgtasks.ledger.transitions import cancel, next_due
from django_bgtasks.models import Job, Worker
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.worker.maintenance import promote, prune, redispatch, rescue
from django_bgtasks.worker.maintenance.dead_processes import Death, settle_death
from django_bgtasks.worker.maintenance.redispatch import Redispatch
from django_bgtasks.worker.maintenance.rollups import RollUps
from tests.app.tasks import add
from tests.named import waiting_in
from tests.threads import in_threads

from .tasks import third_time_lucky

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"
KILLED = Reason("process_killed", {"signal": "SIGKILL"})


def waiting(client: redis.Redis) -> list[bytes]:
    found: list[Any] = client.lrange(waiting_in("default"), 0, -1)
    return found


def claimed_job(**options: Any) -> Job:
    """A job in the hands of a worker that nobody knows."""
    with without_redis():
        job = add.using(**options).enqueue(1, 2).job
    claimed = claim(job.pk, uuid4(), DB)
    assert claimed is not None
    return claimed


def death_of(held_job: Job, cause: str = "crash", **changes: Any) -> Death:
    fields = {"job": held_job.pk, "claim": held_job.claims, "worker": held_job.worker}
    return Death(**{**fields, "why": DeathCause(cause), "end": KILLED, **changes})


def state_of(job: Job) -> tuple[str, int]:
    row = Job.objects.get(pk=job.pk)
    return row.state, row.attempt


def test_due_jobs_are_queued_and_dispatched(
    redis_client: redis.Redis, make_due: Callable[[], None]
) -> None:
    later = clock.now() + timedelta(hours=1)
    results = [add.using(run_after=later).enqueue(n, 1) for n in range(3)]
    assert promote.run_once(DB) == 0
    assert 3500 < (next_due(DB)[0] or 0) <= 3600
    make_due()
    assert promote.run_once(DB) == 3
    assert waiting(redis_client) == [result.id.encode() for result in results]
    assert promote.run_once(DB) == 0


def test_the_jobs_of_a_worker_that_is_gone_run_again(redis_client: redis.Redis) -> None:
    job = claimed_job()
    assert rescue.run_once(10, DB) == 1
    assert state_of(job) == ("queued", 1)
    assert job.attempts.get().outcome == "crash"
    assert waiting(redis_client) == [str(job.pk).encode()]
    assert rescue.run_once(10, DB) == 0


def test_the_jobs_of_a_worker_that_beats_are_left_alone() -> None:
    job, seen = claimed_job(), clock.now()
    assert job.worker is not None
    Worker.objects.create(
        id=job.worker, hostname="h", pid=1, processes=1, started_at=seen, last_seen_at=seen
    )
    assert rescue.run_once(10, DB) == 0
    Worker.objects.update(last_seen_at=seen - timedelta(seconds=11))
    assert rescue.run_once(10, DB) == 1


def test_many_who_rescue_at_once_rescue_each_job_once(redis_client: redis.Redis) -> None:
    jobs = [claimed_job() for _ in range(10)]
    assert sum(in_threads(*[partial(rescue.run_once, 10, DB)] * 4)) == 10
    assert {state_of(job) for job in jobs} == {("queued", 1)}


def test_the_third_crash_of_a_job_is_its_last() -> None:
    job = claimed_job()
    Job.objects.update(max_attempts=10)
    for crash in range(1, 4):
        assert settle_death(death_of(Job.objects.get()), DB)
        if crash < 3:
            assert state_of(job) == ("queued", crash)
            claim(job.pk, uuid4(), DB)
    assert state_of(job) == ("failed", 3)


def test_a_task_that_must_not_be_repeated_fails_at_its_first_crash() -> None:
    job = claimed_job(on_crash="fail")
    assert settle_death(death_of(job), DB)
    assert state_of(job) == ("failed", 1)


def test_a_job_that_was_not_begun_is_released_at_no_cost(redis_client: redis.Redis) -> None:
    job = claimed_job()
    assert settle_death(death_of(job, claim=None), DB)
    assert state_of(job) == ("queued", 0)
    assert waiting(redis_client) == [str(job.pk).encode()]


def test_an_interruption_is_not_the_jobs_fault() -> None:
    job = claimed_job()
    assert settle_death(death_of(job, "interrupted"), DB)
    assert state_of(job) == ("queued", 0)
    assert not job.attempts.exists()


def test_an_interrupted_task_that_must_not_be_repeated_fails() -> None:
    job = claimed_job(on_crash="fail")
    assert settle_death(death_of(job, "interrupted"), DB)
    assert state_of(job) == ("failed", 1)
    assert job.attempts.get().outcome == "crash"


def test_a_stray_claim_is_released_whatever_its_task_says() -> None:
    job = claimed_job(on_crash="fail")
    assert settle_death(death_of(job, "unbegun"), DB)
    assert state_of(job) == ("queued", 0)


def test_a_child_that_dies_over_a_second_message_does_not_take_the_job_from_its_sibling() -> None:
    job = claimed_job()
    assert not settle_death(death_of(job, claim=None), DB, lambda: {job.pk})
    assert state_of(job) == ("running", 1)


def test_a_kill_for_a_timeout_is_settled_by_the_policy_of_the_task() -> None:
    job = claimed_job()
    assert settle_death(death_of(job, "timeout"), DB)
    assert state_of(job) == ("failed", 1)
    assert job.attempts.get().outcome == "timeout"


def test_a_kill_for_a_cancellation_cancels() -> None:
    job = claimed_job()
    cancel(job.pk, DB)
    assert settle_death(death_of(job), DB)
    assert state_of(job) == ("cancelled", 1)


def test_a_death_between_the_pop_and_the_claim_sends_the_message_again(
    redis_client: redis.Redis,
) -> None:
    with without_redis():
        job = add.enqueue(1, 2).job
    assert not settle_death(death_of(job, claim=None, worker=uuid4()), DB)
    assert waiting(redis_client) == [str(job.pk).encode()]


@pytest.mark.parametrize("changes", [{"claim": 7}, {"worker": uuid4()}, {"job": uuid4()}])
def test_a_death_that_is_not_of_this_claim_settles_nothing(changes: dict[str, Any]) -> None:
    job = claimed_job()
    assert not settle_death(death_of(job, **changes), DB)
    assert state_of(job) == ("running", 1)


def test_receivers_are_told_of_a_rescue() -> None:
    events: list[tuple[str, str]] = []

    def receiver(task_result: Any, **kwargs: Any) -> None:
        events.append((task_result.id, task_result.job.state))

    job_rescued.connect(receiver)
    try:
        job = claimed_job()
        rescue.run_once(10, DB)
    finally:
        job_rescued.disconnect(receiver)
    assert events == [(str(job.pk), "queued")]


def test_a_wiped_redis_gets_its_messages_back_at_the_next_tick(redis_client: redis.Redis) -> None:
    task = Redispatch("default", DB)
    task.run_once()
    results = [add.enqueue(n, 1) for n in range(5)]
    redis_client.flushdb()
    assert task.run_once() == 5
    assert sorted(waiting(redis_client)) == sorted(result.id.encode() for result in results)
    assert task.run_once() == 0


def test_a_single_lost_message_is_sent_again_when_it_is_missing_twice(
    redis_client: redis.Redis,
) -> None:
    task = Redispatch("default", DB)
    task.run_once()
    lost, present = (add.enqueue(n, 1).id.encode() for n in range(2))
    redis_client.lrem(waiting_in("default"), 0, lost.decode())
    sent = []
    for _ in range(3):
        task.soon()
        sent.append(task.run_once())
    assert sent == [0, 1, 0]
    assert waiting(redis_client) == [present, lost]


@pytest.fixture
def task(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Redispatch:
    """One that has left its mark in Redis, and takes its second look at the next run_once."""
    monkeypatch.setattr(redispatch, "CONFIRM_AFTER", 0.0)
    marked = Redispatch("default", DB)
    marked.run_once()
    return marked


def test_the_second_look_is_at_the_suspects_alone(
    task: Redispatch, redis_client: redis.Redis
) -> None:
    lost, begun = (add.enqueue(n, 1) for n in range(2))
    redis_client.delete(waiting_in("default"))
    task.soon()
    assert task.run_once() == 0
    # Missing by now, and no suspect: this one waits for the next sweep.
    add.enqueue(2, 1)
    redis_client.delete(waiting_in("default"))
    assert claim(begun.job.pk, uuid4(), DB)
    assert [task.run_once(), task.run_once()] == [1, 0]
    assert waiting(redis_client) == [lost.id.encode()]


def test_what_has_begun_since_it_was_a_suspect_costs_redis_nothing(
    task: Redispatch, redis_client: redis.Redis
) -> None:
    job = add.enqueue(1, 1).job
    redis_client.lpop(waiting_in("default"))
    task.soon()
    task.run_once()
    claim(job.pk, uuid4(), DB)
    redis_client.config_resetstat()
    assert task.run_once() == 0
    assert "cmdstat_lrange" not in redis_client.info("commandstats")


def test_what_a_dead_worker_may_have_taken_with_it_is_sent_at_the_next_tick(
    redis_client: redis.Redis,
) -> None:
    task = Redispatch("default", DB)
    task.run_once()
    lost = add.enqueue(1, 1).id.encode()
    redis_client.lpop(waiting_in("default"))
    task.at_once()
    assert [task.run_once(), task.run_once()] == [1, 0]
    assert waiting(redis_client) == [lost]


class StandingStill:
    """A clock that goes on by ten minutes while the first statement is with the database."""

    def __init__(self) -> None:
        self.turned = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.turned

    def __call__(self, execute: Any, *statement: Any) -> Any:
        self.turned = self.turned or 600.0
        return execute(*statement)


@pytest.fixture
def stood_still(monkeypatch: pytest.MonkeyPatch) -> StandingStill:
    """The clock of the host, which stands still as soon as this wraps what is executed."""
    clock_of_host = StandingStill()
    monkeypatch.setattr(clock, "monotonic", clock_of_host.monotonic)
    return clock_of_host


def test_a_sweep_that_stood_still_for_long_is_followed_by_another_within_a_minute(
    redis_client: redis.Redis, stood_still: StandingStill
) -> None:
    task = Redispatch("default", DB)
    task.run_once()
    task.soon()
    with connection.execute_wrapper(stood_still):
        task.run_once()
    lost = add.enqueue(1, 1).id.encode()
    redis_client.lpop(waiting_in("default"))
    stood_still.turned += 61
    assert task.run_once() == 0
    stood_still.turned += 2
    assert task.run_once() == 1
    assert waiting(redis_client) == [lost]


def test_what_has_ended_is_counted_within_a_minute_though_the_last_count_stood_still(
    stood_still: StandingStill,
) -> None:
    with connection.execute_wrapper(stood_still):
        assert RollUps(DB).run_once() <= 60


def test_a_tick_of_prune_does_what_is_due_and_then_nothing() -> None:
    third_time_lucky.enqueue()
    run_jobs()
    assert prune.run_once(DB) == 0
    Worker.objects.create(
        id=uuid4(),
        hostname="h",
        pid=1,
        processes=1,
        started_at=clock.now(),
        last_seen_at=clock.now() - timedelta(days=2),
        stopped_at=clock.now(),
    )
    assert [prune.run_once(DB) for _ in range(2)] == [1, 0]
    assert Job.objects.count() == 1
