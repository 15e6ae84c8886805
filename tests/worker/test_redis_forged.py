"""Nobody who can write to Redis can make a worker run anything but a queued job of the ledger."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest
import redis
import rq
from rq.command import send_shutdown_command
from rq.serializers import JSONSerializer

from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import Effects
from .jobs import row, wait_for_state

pytestmark = pytest.mark.faults
DEFAULT = "rq:queue:default"


@pytest.fixture
def worker(bgworker: WorkerFactory, effects: Effects) -> WorkerProcess:
    """A worker that has run a job."""
    started = bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "before"), "succeeded")
    return started


def assert_unharmed(worker: WorkerProcess, redis_client: redis.Redis, effects: Effects) -> None:
    """All messages are taken, and the very same process runs the next job."""
    wait_until(lambda: redis_client.llen(DEFAULT) == 0)
    wait_for_state(tasks.record.enqueue(str(effects), "after"), "succeeded")
    assert effects.texts == ["before", "after"]
    assert len(set(effects.pids)) == 1
    assert "Traceback" not in worker.output
    assert worker.returncode is None


@pytest.mark.parametrize("serializer", ["pickle", "json"])
def test_a_queued_os_system_is_never_executed(
    worker: WorkerProcess,
    redis_client: redis.Redis,
    effects: Effects,
    tmp_path: Path,
    serializer: str,
) -> None:
    victim = tmp_path / "executed"
    serialize = JSONSerializer if serializer == "json" else None
    queue = rq.Queue("default", connection=redis_client, serializer=serialize)
    queue.enqueue(os.system, f"touch {victim}")
    queue.enqueue(os.system, f"touch {victim}", job_id="a-name-and-no-uuid")
    queue.enqueue(os.system, f"touch {victim}", at_front=True, on_success=rq.Callback(os.system))
    assert_unharmed(worker, redis_client, effects)
    assert not victim.exists()


def test_a_message_with_the_id_of_a_real_job_runs_that_job_and_nothing_else(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects, tmp_path: Path
) -> None:
    victim = tmp_path / "executed"
    redis_client.set("rq:suspended", 1)
    job = tasks.record.enqueue(str(effects), "real")
    queue = rq.Queue("default", connection=redis_client)
    queue.enqueue(os.system, f"touch {victim}", job_id=job.id)
    redis_client.delete("rq:suspended")
    wait_for_state(job, "succeeded")
    assert effects.texts == ["before", "real"]
    assert worker.returncode is None
    assert not victim.exists()


def test_a_forged_shutdown_is_not_heard(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    [name] = [rq_worker.name for rq_worker in rq.Worker.all(connection=redis_client)]
    send_shutdown_command(redis_client, name)
    for command in ("shutdown", "kill-horse", "stop-job"):
        payload = json.dumps({"command": command, "job_id": str(uuid.uuid4())})
        assert redis_client.publish(f"rq:pubsub:{name}", payload) == 0
    assert_unharmed(worker, redis_client, effects)


def test_garbage_in_the_list_is_dropped(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    garbage = [b"\xff\xfe", b"", b"\x00", b"x" * 1_000_000, b"{}", b"-", "ü".encode()]
    redis_client.rpush(DEFAULT, *garbage, str(uuid.uuid4()))
    redis_client.sadd("rq:queues", b"\xff", b"rq:queue:", b"rq:queue:default-p", b"rq:queue:x-p5")
    assert_unharmed(worker, redis_client, effects)


def test_a_queue_key_that_is_no_list_does_not_stop_the_worker(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    redis_client.set("rq:queue:default-p77", "not a list")
    redis_client.sadd("rq:queues", "rq:queue:default-p77")
    job = tasks.record.enqueue(str(effects), "meanwhile")
    wait_for_state(job, "succeeded")
    redis_client.delete("rq:queue:default-p77")
    wait_for_state(tasks.record.enqueue(str(effects), "after"), "succeeded")
    assert effects.texts == ["before", "meanwhile", "after"]
    assert worker.returncode is None


def test_a_message_that_comes_ten_times_runs_its_job_once(
    worker: WorkerProcess, redis_client: redis.Redis, effects: Effects
) -> None:
    redis_client.set("rq:suspended", 1)
    job = tasks.record.enqueue(str(effects), "once")
    redis_client.rpush(DEFAULT, *[job.id] * 9)
    redis_client.delete("rq:suspended")
    wait_until(lambda: redis_client.llen(DEFAULT) == 0)
    wait_for_state(job, "succeeded")
    redis_client.rpush(DEFAULT, job.id)
    wait_until(lambda: redis_client.llen(DEFAULT) == 0)
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
