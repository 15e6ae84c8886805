"""Jobs without a message, as those of a host that reaches the database and not Redis."""

from __future__ import annotations

import logging

import pytest
import redis

from django_bgtasks.core import clock
from django_bgtasks.ledger.queues import with_queued_jobs
from django_bgtasks.testing import without_redis
from django_bgtasks.worker.maintenance import redispatch
from django_bgtasks.worker.maintenance.redispatch import Redispatch
from tests.app.tasks import add
from tests.named import waiting_in

pytestmark = pytest.mark.django_db(transaction=True)
# How often a worker's maintenance runs it.
TICK = 0.5


class Clock:
    """It goes on when it is told to. sweep_seconds: so long a sweep takes."""

    def __init__(self) -> None:
        self.now, self.sweeps, self.sweep_seconds = clock.monotonic(), 0, 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the host; it also counts the sweeps."""
    hands = Clock()

    def sweep(backend: str, using: str) -> list[str]:
        hands.sweeps += 1
        hands.now += hands.sweep_seconds
        return with_queued_jobs(backend, using)

    monkeypatch.setattr(clock, "monotonic", hands)
    monkeypatch.setattr(redispatch, "with_queued_jobs", sweep)
    return hands


@pytest.fixture
def task(redis_client: redis.Redis, hands: Clock) -> Redispatch:
    """One that has left its mark in Redis."""
    marked = Redispatch("default", "default")
    marked.run_once()
    return marked


def enqueue_elsewhere() -> None:
    """A job of a host that does not reach Redis."""
    with without_redis():
        add.enqueue(1, 2)


def until_sent(task: Redispatch, hands: Clock) -> float:
    """Seconds until one of them has its message."""
    start = hands.now
    while not task.run_once():
        hands.now += TICK
        assert hands.now < start + 100
    return hands.now - start


def run_for(seconds: float, task: Redispatch, hands: Clock) -> int:
    """Let time go by; how many messages were sent."""
    end, sent = hands.now + seconds, 0
    while hands.now < end:
        sent += task.run_once()
        hands.now += TICK
    return sent


def test_after_the_first_the_jobs_of_a_host_without_redis_wait_a_second_at_most(
    task: Redispatch, hands: Clock, redis_client: redis.Redis
) -> None:
    enqueue_elsewhere()
    assert until_sent(task, hands) < 15
    for pause in (0.0, 0.3, 7.0, 60.0, 200.0):
        run_for(pause, task, hands)
        enqueue_elsewhere()
        assert until_sent(task, hands) <= 1
    assert redis_client.llen(waiting_in("default")) == 6


def test_a_message_that_is_on_its_way_is_not_sent_again_at_the_first_look(
    task: Redispatch, hands: Clock, redis_client: redis.Redis
) -> None:
    enqueue_elsewhere()
    until_sent(task, hands)
    late = add.enqueue(1, 2).id
    redis_client.lrem(waiting_in("default"), 0, late)
    hands.now += TICK
    assert task.run_once() == 0
    redis_client.rpush(waiting_in("default"), late)
    assert run_for(5, task, hands) == 0


def test_where_nothing_is_lost_any_more_a_worker_looks_as_seldom_as_before(
    task: Redispatch, hands: Clock
) -> None:
    run_for(60, task, hands)
    usual, hands.sweeps = hands.sweeps, 0
    enqueue_elsewhere()
    until_sent(task, hands)
    run_for(redispatch.OFTEN_FOR, task, hands)
    hands.sweeps = 0
    run_for(60, task, hands)
    assert hands.sweeps <= usual


def test_a_sweep_that_takes_long_is_not_repeated_soon(task: Redispatch, hands: Clock) -> None:
    enqueue_elsewhere()
    until_sent(task, hands)
    hands.sweep_seconds, hands.sweeps = 0.5, 0
    run_for(100, task, hands)
    assert 0 < hands.sweeps * 0.5 <= 5


def test_it_is_said_every_ten_minutes_how_many_were_missing_and_where_to_look(
    task: Redispatch, hands: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "django_bgtasks")
    enqueue_elsewhere()
    until_sent(task, hands)
    [first] = caplog.messages
    assert first.startswith("1 queued jobs were missing in Redis and were sent again.")
    assert "a host that enqueues" in first
    for _ in range(20):
        enqueue_elsewhere()
        until_sent(task, hands)
    assert caplog.messages == [first]
    run_for(redispatch.SAY_EVERY + TICK, task, hands)
    [_, second] = caplog.messages
    assert second.startswith("20 queued jobs were missing in Redis and were sent again.")
    run_for(2 * redispatch.SAY_EVERY, task, hands)
    assert len(caplog.messages) == 2
