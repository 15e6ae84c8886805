"""A worker that is told to stop: what runs is finished or given back, and nothing is stranded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import redis

from django_bgtasks.models import Job
from tests.limits.tasks import apply_event
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, wait_for_state

Stop = Callable[[WorkerProcess], None]


def to_supervisor(number: signal.Signals) -> Stop:
    return lambda worker: worker.send(number)


def to_group(number: signal.Signals) -> Stop:
    return lambda worker: os.killpg(worker.pid, number)


def twice(worker: WorkerProcess) -> None:
    worker.send(signal.SIGTERM)
    worker.wait_for("Stopping")
    os.killpg(worker.pid, signal.SIGTERM)


each_way = pytest.mark.parametrize(
    "stop",
    [
        pytest.param(to_supervisor(signal.SIGTERM), id="SIGTERM"),
        pytest.param(to_supervisor(signal.SIGINT), id="SIGINT"),
        pytest.param(to_group(signal.SIGTERM), id="SIGTERM-group"),
        pytest.param(to_group(signal.SIGINT), id="SIGINT-group"),
        pytest.param(twice, id="SIGTERM-twice"),
    ],
)


@pytest.mark.long(after=2)
@each_way
def test_the_running_job_is_finished_the_idle_process_goes_and_nothing_more_is_begun(
    bgworker: WorkerFactory, effects: Effects, stop: Stop
) -> None:
    worker = bgworker("--processes", 2)
    running = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    stop(worker)
    wait_until(lambda: len(worker.family()) == 3, timeout=5)
    waiting = tasks.record.enqueue(str(effects), "next")
    effects.open_gate()
    assert worker.wait(5) == 0
    assert (row(running).state, row(running).attempt) == ("succeeded", 1)
    assert row(waiting).state == "queued"
    assert effects.texts == ["begin", "end"]
    assert "Traceback" not in worker.output
    assert "crash" not in worker.output


def test_what_must_not_be_repeated_fails_when_it_outlives_the_grace(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker("--grace", 0.3)
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    to_supervisor(signal.SIGTERM)(worker)
    assert worker.wait(5) == 0
    assert row(job).state == "failed"
    assert outcomes(job) == ["crash"]


@pytest.mark.long(after=1)
@pytest.mark.parametrize("stop", [to_supervisor(signal.SIGTERM), to_group(signal.SIGTERM)])
def test_what_outlives_the_grace_is_released_and_costs_no_attempt(
    bgworker: WorkerFactory, effects: Effects, stop: Stop
) -> None:
    worker = bgworker("--grace", 0.3)
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    stop(worker)
    assert worker.wait(5) == 0
    released = row(job)
    assert (released.state, released.attempt) == ("queued", 0)
    assert outcomes(job) == []
    effects.open_gate()
    bgworker()
    done = wait_for_state(job, "succeeded", timeout=10)
    assert done.attempt == 1
    assert effects.texts == ["begin", "begin", "end"]


def test_a_job_that_comes_after_the_stop_is_left_to_others(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    worker = bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    # Now it waits for a message: a second, if none comes.
    wait_until(lambda: blocked_clients(redis_client) == 1)
    worker.send(signal.SIGTERM)
    worker.wait_for("Stopping")
    job = tasks.record.enqueue(str(effects), "late")
    assert worker.wait(5) == 0
    assert row(job).state == "queued"
    assert redis_client.lrange(waiting_in("default"), 0, -1) == [job.id.encode()]


def blocked_clients(redis_client: redis.Redis) -> int:
    return int(redis_client.info("clients")["blocked_clients"])


def test_a_worker_stopped_again_and_again_under_load_loses_and_repeats_nothing(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    jobs = tasks.record.enqueue_many([(str(effects), str(number)) for number in range(300)])
    while len(effects.texts) < len(jobs):
        worker = bgworker("--processes", 2)
        goal = min(len(effects.texts) + 60, len(jobs))
        wait_until(lambda goal=goal: len(effects.texts) >= goal)  # type: ignore[misc]
        os.killpg(worker.pid, signal.SIGTERM)
        assert worker.wait(10) == 0
    assert sorted(effects.texts, key=int) == [str(number) for number in range(300)]
    assert {row(job).state for job in jobs} == {"succeeded"}


@each_way
def test_a_stop_in_the_middle_of_a_sequence_leaves_none_of_its_jobs_running(
    bgworker: WorkerFactory, stop: Stop
) -> None:
    apply_event.enqueue_many([("o", number) for number in range(2000)])
    worker = bgworker("--processes", 2)
    jobs = Job.objects.filter(lane="order:o")
    wait_until(lambda: jobs.filter(state="succeeded").count() > 10, pause=0.01)
    stop(worker)
    assert worker.wait(10) == 0
    left = jobs.exclude(state="succeeded")
    assert left.exists()
    assert set(left.values_list("state", "attempt")) <= {("queued", 0), ("blocked", 0)}
    assert jobs.filter(place__isnull=False).count() == 1
