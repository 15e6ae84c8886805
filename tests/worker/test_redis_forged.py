"""Nobody who can write to Redis can make a worker run anything but a queued job of the ledger."""

from __future__ import annotations

import uuid

import pytest
import redis

from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import Effects
from .jobs import row, wait_for_state

pytestmark = pytest.mark.faults


@pytest.fixture
def worker(bgworker: WorkerFactory, effects: Effects) -> WorkerProcess:
    """A worker that has run a job."""
    started = bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "before"), "succeeded")
    return started


def assert_unharmed(worker: WorkerProcess, redis_client: redis.Redis, effects: Effects) -> None:
    """All messages are taken, and the very same process runs the next job."""
    wait_until(lambda: redis_client.llen(waiting_in("default")) == 0)
    wait_for_state(tasks.record.enqueue(str(effects), "after"), "succeeded")
    assert effects.texts == ["before", "after"]
    assert len(set(effects.pids)) == 1
    assert "Traceback" not in worker.output
    assert worker.returncode is None


def test_garbage_in_the_list_is_dropped(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    garbage = [b"\xff\xfe", b"", b"\x00", b"x" * 1_000_000, b"{}", b"-", "ü".encode()]
    redis_client.rpush(waiting_in("default"), *garbage, str(uuid.uuid4()))
    names = [waiting_in(name) for name in ("", "default-p", "default-p007", "x-p5", "x-m0", "-p1")]
    redis_client.sadd("rq:queues", b"\xff", b"rq:queue:", b"rq:queue:default-p", *names)
    assert_unharmed(worker, redis_client, effects)


def test_a_queue_key_that_is_no_list_does_not_stop_the_worker(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    redis_client.set(waiting_in("default-p77"), "not a list")
    redis_client.sadd("rq:queues", waiting_in("default-p77"))
    job = tasks.record.enqueue(str(effects), "meanwhile")
    wait_for_state(job, "succeeded")
    redis_client.delete(waiting_in("default-p77"))
    wait_for_state(tasks.record.enqueue(str(effects), "after"), "succeeded")
    assert effects.texts == ["before", "meanwhile", "after"]
    assert worker.returncode is None


def test_a_message_that_comes_ten_times_runs_its_job_once(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    redis_client.set("rq:suspended", 1)
    job = tasks.record.enqueue(str(effects), "once")
    redis_client.rpush(waiting_in("default"), *[job.id] * 9)
    redis_client.delete("rq:suspended")
    wait_until(lambda: redis_client.llen(waiting_in("default")) == 0)
    wait_for_state(job, "succeeded")
    redis_client.rpush(waiting_in("default"), job.id)
    wait_until(lambda: redis_client.llen(waiting_in("default")) == 0)
    wait_for_state(tasks.record.enqueue(str(effects), "after"), "succeeded")
    assert effects.texts == ["before", "once", "after"]
    assert row(job).attempt == 1


def test_a_finished_job_leaves_nothing_of_its_own_in_redis(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    job = tasks.record.enqueue(str(effects), "gone")
    wait_for_state(job, "succeeded")
    wait_until(lambda: not redis_client.exists(f"rq:job:{job.id}"))
    assert redis_client.keys("rq:job:*") == []
