"""A queue that no setting names is served as soon as something waits in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from pytest_django import Settings

from django_bgtasks.models import Job
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import wait_for_state

# Seconds from the enqueue to the start. An idle worker waits half a second at a time.
SOON = 1.5


@pytest.fixture(autouse=True)
def any_queue(settings: Settings) -> None:
    """The site names no queues; its worker has other ones in its settings."""
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}


def seconds_to_start(effects: Effects, queue: str, priority: int = 0) -> float:
    """How long a job in this queue waits for its start."""
    task = tasks.record.using(queue_name=queue, priority=priority)
    return waited(wait_for_state(task.enqueue(str(effects), queue), "succeeded"))


def waited(job: Job) -> float:
    assert job.started_at is not None
    return (job.started_at - job.enqueued_at).total_seconds()


@pytest.mark.long(after=1)
@pytest.mark.parametrize("options", [(), ("--threads", 2)])
def test_an_idle_worker_begins_the_first_job_of_a_new_queue_at_once(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects, options: tuple[Any, ...]
) -> None:
    bgworker(*options)
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    places = [("new", 0), ("other", 7), ("ends-p5", 0), ("a b:c", -3), ("new", 50)]
    assert max(seconds_to_start(effects, *place) for place in places) < SOON


def test_a_queue_that_was_empty_for_a_while_is_still_served(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    first = bgworker()
    seconds_to_start(effects, "new")
    seconds_to_start(effects, "default")
    assert seconds_to_start(effects, "new") < SOON
    first.stop()
    # Another worker has never seen a job of it.
    bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    assert seconds_to_start(effects, "new") < SOON


def test_a_worker_of_some_queues_leaves_a_new_one_alone(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    bgworker("default")
    new = tasks.record.using(queue_name="default-p5").enqueue(str(effects), "new")
    wait_for_state(tasks.record.using(priority=5).enqueue(str(effects), "own"), "succeeded")
    assert effects.texts == ["own"]
    assert redis_client.lrange(waiting_in("default-p5-p0"), 0, -1) == [new.id.encode()]


@pytest.mark.parametrize("mode", ["worker", "burst"])
def test_without_redis_a_new_queue_is_found_in_the_database(
    bgworker: WorkerFactory, effects: Effects, mode: str
) -> None:
    env = {"BGTASKS_TEST_OPTIONS": json.dumps({"redis_url": None})}
    if mode == "burst":
        tasks.record.using(queue_name="new").enqueue(str(effects), "new")
        assert bgworker("--burst", env=env).wait() == 0
        assert effects.texts == ["new"]
        return
    bgworker(env=env)
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    assert seconds_to_start(effects, "new") < 2 * SOON


def test_a_queue_that_is_new_to_redis_after_a_flush_is_served(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    bgworker()
    seconds_to_start(effects, "new")
    redis_client.flushall()
    jobs = [tasks.record.using(queue_name="new").enqueue(str(effects), str(n)) for n in range(3)]
    wait_until(lambda: Job.objects.filter(pk__in=[j.id for j in jobs]).live().count() == 0, 10)
