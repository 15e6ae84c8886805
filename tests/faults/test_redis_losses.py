"""What Redis loses: all of it, what was not yet on disk, one list, one hash."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import redis
from pytest_django import Settings

from testproject.servers import RedisServer
from tests.named import namespace, waiting_in
from tests.waiting import wait_until

from . import tasks
from .case import Case
from .outage import LATENCY, begun, latency_of_one, ran_once, returns, wait_registered, warm

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("no_traceback")]


@pytest.fixture
def kept_redis(settings: Settings) -> Iterator[RedisServer]:
    """A Redis of this test's own whose append-only file has all that it has confirmed."""
    with RedisServer(persistent=True, config={"appendfsync": "always"}) as server:
        cache = {**settings.CACHES["default"], "LOCATION": server.url}
        settings.CACHES = {**settings.CACHES, "default": cache}
        yield server


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[redis.Redis]:
    """A client of the private Redis."""
    with own_redis.client() as connected:
        yield connected


def behind_a_gate(case: Case, number: int) -> None:
    """A job that holds the worker's only process, and so many that wait behind it."""
    begun(case, case.enqueue(tasks.wait_at_gate))
    case.enqueue_many(tasks.plain, [()] * number)


def has_settled(server: RedisServer) -> None:
    """Wait until the worker's first look through this Redis is over.

    A Redis that is killed in it comes back with its lock, which expires after 30 s.
    """
    with server.client() as client:
        wait_until(lambda: client.exists(namespace().marker_key), 20)
        wait_until(lambda: not client.exists(namespace().key("redispatch")), 20)


def has_run(case: Case, number: int) -> bool:
    """Whether so many bodies have come to their end."""
    return len(case.effects.of("end")) >= number


def test_a_flush_of_an_idle_redis_is_noticed_by_nobody(case: Case, own_redis: RedisServer) -> None:
    case.row("Redis", "FLUSHALL of an idle Redis")
    worker = case.worker()
    warm(case)
    own_redis.flushall()
    case.recovered(latency_of_one(case, tasks.atomic), within=LATENCY)
    wait_registered(own_redis, worker)
    assert ran_once(case)


def test_a_flush_with_a_thousand_queued_jobs_sends_them_all_again_within_5_s(
    case: Case, own_redis: RedisServer, client: redis.Redis
) -> None:
    case.row("Redis", "FLUSHALL with 1,000 queued jobs")
    worker = case.worker()
    behind_a_gate(case, 1000)
    wait_until(lambda: client.llen(waiting_in("default")) == 1000)
    own_redis.flushall()
    with case.recovers(within=5):
        wait_until(lambda: client.llen(waiting_in("default")) == 1000, 20)
    case.effects.open_gate()
    case.wait_final()
    worker.wait_for("1000 queued jobs were sent again.")
    assert ran_once(case)


def test_a_worker_that_starts_after_a_flush_runs_all(case: Case, own_redis: RedisServer) -> None:
    case.row("Redis", "FLUSHALL with 1,000 queued jobs")
    case.enqueue_many(tasks.plain, [()] * 1000)
    own_redis.flushall()
    case.worker("--processes", 2)
    case.wait_final()
    assert ran_once(case)


@pytest.mark.parametrize(
    ("flushes", "jobs"), [(5, 100), pytest.param(60, 1200, marks=pytest.mark.long)]
)
def test_a_redis_flushed_again_and_again_while_jobs_run_loses_and_doubles_none(
    case: Case, own_redis: RedisServer, flushes: int, jobs: int
) -> None:
    case.row("Redis", "FLUSHALL again and again while jobs run", times=flushes)
    worker = case.worker("--processes", 2)
    for part in range(flushes):
        case.enqueue_many(tasks.nap, [(0.02,)] * (jobs // flushes))
        # Each flush hits jobs that are queued, running and being settled.
        half_way = part * jobs // flushes + jobs // flushes // 2
        wait_until(partial(has_run, case, half_way), 20)
        own_redis.flushall()
    with case.recovers(within=5):
        case.wait_final()
    assert ran_once(case)
    wait_registered(own_redis, worker, processes=2)


def test_a_redis_that_is_killed_and_restarts_empty_gets_all_its_messages_again(
    case: Case, own_redis: RedisServer, client: redis.Redis
) -> None:
    case.row("Redis", "Redis killed and restarted empty")
    worker = case.worker()
    behind_a_gate(case, 200)
    own_redis.kill()
    own_redis.start()
    with case.recovers(within=5):
        wait_until(lambda: client.llen(waiting_in("default")) == 200, 20)
    case.effects.open_gate()
    case.wait_final()
    wait_registered(own_redis, worker)
    assert ran_once(case)


@pytest.mark.long
def test_a_redis_that_restarts_from_its_file_adds_no_second_run(
    case: Case, kept_redis: RedisServer
) -> None:
    case.row("Redis", "Redis killed and restarted from its append-only file")
    worker = case.worker()
    behind_a_gate(case, 50)
    has_settled(kept_redis)
    kept_redis.kill()
    # They run from the database; the file still has their messages.
    case.effects.open_gate()
    case.wait_final()
    with case.recovers(within=5), returns(case, kept_redis, worker):
        kept_redis.start()
    with kept_redis.client() as client:
        wait_until(lambda: client.llen(waiting_in("default")) == 0)
        # Whose jobs ran when Redis went have nobody to delete their hashes: these expire.
        wait_until(lambda: len(client.keys("rq:job:*")) <= 2)
        assert all(client.ttl(key) > 0 for key in client.keys("rq:job:*"))
    assert ran_once(case)


def test_messages_that_came_back_from_the_file_are_not_sent_twice(
    case: Case, kept_redis: RedisServer
) -> None:
    case.row("Redis", "Redis killed and restarted from its append-only file")
    worker = case.worker()
    behind_a_gate(case, 50)
    has_settled(kept_redis)
    kept_redis.kill()
    with kept_redis.start().client() as client:
        assert client.llen(waiting_in("default")) == 50
        # Maintenance compares ledger and Redis once more, and finds nothing to send.
        client.delete(namespace().marker_key)
        wait_registered(kept_redis, worker)
        assert client.llen(waiting_in("default")) == 50
        case.effects.open_gate()
        with case.recovers(within=5):
            case.wait_final()
    assert ran_once(case)


def test_a_message_whose_hash_was_evicted_still_runs_its_job(
    case: Case, client: redis.Redis
) -> None:
    case.row("Redis", "the hashes of 20 messages evicted before the pop", times=20)
    worker = case.worker()
    behind_a_gate(case, 20)
    wait_until(lambda: client.exists(namespace().marker_key))
    assert client.delete(*(f"rq:job:{job}" for job in case.committed[1:])) == 20
    case.effects.open_gate()
    with case.recovers(within=LATENCY):
        case.wait_final()
    assert "sent again" not in worker.output
    assert ran_once(case)


@pytest.mark.long
def test_a_list_that_was_evicted_is_sent_again_within_30_s(case: Case, client: redis.Redis) -> None:
    case.row("Redis", "one queue's list evicted")
    worker = case.worker()
    behind_a_gate(case, 20)
    wait_until(lambda: client.exists(namespace().marker_key))
    assert client.delete(waiting_in("default"))
    with case.recovers(within=30):
        wait_until(lambda: client.llen(waiting_in("default")) == 20, 40)
    worker.wait_for("20 queued jobs were missing in Redis and were sent again.")
    case.effects.open_gate()
    case.wait_final()
    assert ran_once(case)
