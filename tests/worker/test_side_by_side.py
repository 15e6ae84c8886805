"""Jobs that wait run side by side in one process: coroutines on a loop, functions in threads."""

from __future__ import annotations

import signal
from typing import Any

import psutil
import pytest
import redis
import rq

from django_bgtasks.jobs.actions import cancel_job
from django_bgtasks.models import Attempt, Job
from testproject.servers import RedisServer
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, unfinished, wait_for_state

MANY = 20
WAYS = [
    pytest.param(tasks.wait_at_gate_async, (), id="coroutines"),
    pytest.param(tasks.wait_at_gate, ("--threads", MANY), id="threads"),
]

with_neighbours = pytest.mark.parametrize(
    ("task", "neighbour", "options"),
    [
        pytest.param(tasks.sleep_async, tasks.wait_at_gate_async, (), id="coroutines"),
        pytest.param(tasks.spin, tasks.wait_at_gate, ("--threads", 4), id="threads"),
    ],
)


def begun(effects: Effects) -> int:
    """How many attempts have begun."""
    return sum(text == "begin" for text in effects.texts)


def many(task: Any, effects: Effects, number: int = MANY) -> list[Any]:
    return list(task.enqueue_many([(str(effects),)] * number))


def through(effects: Effects, jobs: list[Any]) -> None:
    """Open the gate, and see all of them through it, in their first attempt."""
    effects.open_gate()
    wait_until(lambda: unfinished() == 0)
    assert {row(job).state for job in jobs} == {"succeeded"}
    assert {row(job).attempt for job in jobs} == {1}


@pytest.mark.parametrize(("task", "options"), WAYS)
def test_jobs_that_wait_do_so_side_by_side_in_one_process(
    bgworker: WorkerFactory, effects: Effects, task: Any, options: tuple[object, ...]
) -> None:
    worker = bgworker(*options)
    jobs = many(task, effects)
    wait_until(lambda: begun(effects) == MANY)
    assert len(set(effects.pids)) == 1
    # A job of another kind does not wait for them.
    if not options:
        wait_for_state(tasks.record.enqueue(str(effects), "other"), "succeeded")
    through(effects, jobs)
    assert worker.stop() == 0


def test_no_more_than_the_limit_wait_at_once(bgworker: WorkerFactory, effects: Effects) -> None:
    bgworker("--async-concurrency", 3)
    jobs = many(tasks.wait_at_gate_async, effects, 8)
    wait_until(lambda: begun(effects) == 3)
    # A function is not held up by the coroutines that have no room.
    wait_for_state(tasks.record_email.enqueue(str(effects), "email"), "succeeded")
    assert begun(effects) == 3
    assert Job.objects.filter(state="queued").count() == 5
    through(effects, jobs)


@pytest.mark.long(after=1)
@with_neighbours
def test_each_has_its_own_timeout_and_the_others_go_on(
    bgworker: WorkerFactory,
    effects: Effects,
    task: Any,
    neighbour: Any,
    options: tuple[object, ...],
) -> None:
    worker = bgworker(*options)
    others = many(neighbour, effects, 2)
    wait_until(lambda: begun(effects) == 2)
    job = task.using(timeout=0.5).enqueue(str(effects))
    failed = wait_for_state(job, "failed")
    assert failed.error == "JobTimeout: The attempt took longer than its timeout of 0.5 s."
    assert (failed.error_code, failed.error_params) == ("timeout", {"seconds": "0.5"})
    assert outcomes(job) == ["timeout"]
    through(effects, others)
    assert "Killing job process" not in worker.output


@pytest.mark.long(after=1)
@with_neighbours
def test_each_can_be_cancelled_and_the_others_go_on(
    bgworker: WorkerFactory,
    effects: Effects,
    task: Any,
    neighbour: Any,
    options: tuple[object, ...],
) -> None:
    worker = bgworker(*options)
    others = many(neighbour, effects, 2)
    jobs = many(task, effects, 2)
    wait_until(lambda: begun(effects) == 4)
    for job in jobs:
        assert cancel_job(job.id) == "requested"
    for job in jobs:
        assert wait_for_state(job, "cancelled").error_code == "cancelled"
        assert outcomes(job) == ["cancelled"]
    through(effects, others)
    assert "Killing job process" not in worker.output


@pytest.mark.long
def test_a_coroutine_that_blocks_the_loop_is_killed_at_its_timeout_and_the_others_run_again(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker()
    # Theirs would be over first.
    others = many(tasks.wait_at_gate_async.using(timeout=4), effects, 3)
    wait_until(lambda: begun(effects) == 3)
    job = tasks.block_the_loop_once.using(timeout=5).enqueue(str(effects))
    wait_until(lambda: "Killing job process" in worker.output, timeout=20)
    assert f"timeout in job {job.id}" in worker.output
    wait_until(lambda: begun(effects) == 6)
    assert wait_for_state(job, "succeeded").attempt == 2
    assert outcomes(job) == ["timeout"]
    # An interruption costs them no attempt.
    through(effects, others)
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize(("task", "options"), WAYS)
def test_a_stop_waits_for_all_of_them_and_begins_no_more(
    bgworker: WorkerFactory, effects: Effects, task: Any, options: tuple[object, ...]
) -> None:
    worker = bgworker("--async-concurrency", MANY, *options)
    jobs = many(task, effects, MANY + 10)
    wait_until(lambda: begun(effects) == MANY)
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Stopping")
    effects.open_gate()
    assert worker.wait(20) == 0
    assert begun(effects) == MANY
    states = [row(job).state for job in jobs]
    assert (states.count("succeeded"), states.count("queued")) == (MANY, 10)
    assert not Attempt.objects.exists()


@pytest.mark.long(after=1)
@pytest.mark.parametrize(("task", "options"), WAYS)
def test_what_outlives_the_grace_is_released_and_costs_no_attempt(
    bgworker: WorkerFactory, effects: Effects, task: Any, options: tuple[object, ...]
) -> None:
    worker = bgworker("--grace", 0.3, *options)
    jobs = many(task, effects)
    wait_until(lambda: begun(effects) == MANY)
    assert worker.stop() == 0
    assert {(row(job).state, row(job).attempt) for job in jobs} == {("queued", 0)}
    assert not Attempt.objects.exists()


@pytest.mark.parametrize(("task", "options"), WAYS)
def test_a_crash_is_charged_to_all_that_ran_and_each_of_them_runs_alone_the_next_time(
    bgworker: WorkerFactory, effects: Effects, task: Any, options: tuple[object, ...]
) -> None:
    worker = bgworker(*options)
    jobs = many(task, effects, 3)
    wait_until(lambda: begun(effects) == 3)
    psutil.Process(effects.pids[0]).kill()
    wait_until(lambda: begun(effects) == 4)
    assert [row(job).attempt for job in jobs].count(2) == 1
    effects.open_gate()
    wait_until(lambda: unfinished() == 0)
    assert {(row(job).state, row(job).attempt) for job in jobs} == {("succeeded", 2)}
    assert {tuple(outcomes(job)) for job in jobs} == {("crash",)}
    assert effects.texts[4:] == ["end", "begin", "end", "begin", "end"]
    assert worker.returncode is None


def test_an_innocent_neighbour_of_a_poison_job_is_charged_once(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    innocent = many(tasks.wait_at_gate_async, effects, 2)
    wait_until(lambda: begun(effects) == 2)
    poison = tasks.crash_always.enqueue(str(effects))
    effects_of_poison = 3
    wait_until(lambda: row(poison).state == "failed" or begun(effects) > 3)
    effects.open_gate()
    wait_for_state(poison, "failed")
    assert outcomes(poison) == ["crash"] * effects_of_poison
    for job in innocent:
        assert (wait_for_state(job, "succeeded").attempt, outcomes(job)) == (2, ["crash"])


def test_a_coroutine_asks_the_database_and_tells_its_progress(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    counting = [tasks.use_the_ledger.enqueue(str(effects)) for _ in range(3)]
    telling = tasks.tell_and_ask.enqueue(str(effects))
    assert {wait_for_state(job, "succeeded").result for job in counting} == {3}
    ended = wait_for_state(telling, "succeeded")
    assert (ended.progress_done, ended.progress_total, ended.progress_message) == (1, 2, "half")
    assert effects.texts.count("effect") == 1


def test_a_burst_waits_for_what_runs_beside_it(bgworker: WorkerFactory, effects: Effects) -> None:
    jobs = many(tasks.wait_at_gate_async, effects)
    worker = bgworker("--burst")
    wait_until(lambda: begun(effects) == MANY)
    assert worker.returncode is None
    through(effects, jobs)
    assert worker.wait() == 0


def test_a_process_is_replaced_after_its_jobs_though_they_run_side_by_side(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker("--max-jobs", 5)
    effects.open_gate()
    jobs = many(tasks.wait_at_gate_async, effects)
    wait_until(lambda: unfinished() == 0)
    assert {row(job).state for job in jobs} == {"succeeded"}
    each = [effects.pids.count(pid) for pid in set(effects.pids)]
    # Each job begins and ends.
    assert max(each) <= 10


@pytest.mark.parametrize(("task", "options"), WAYS)
def test_without_redis_they_wait_side_by_side_as_well(
    bgworker: WorkerFactory,
    own_redis: RedisServer,
    effects: Effects,
    task: Any,
    options: tuple[object, ...],
) -> None:
    own_redis.kill()
    bgworker(*options)
    jobs = many(task, effects, 5)
    wait_until(lambda: begun(effects) == 5, timeout=20)
    through(effects, jobs)


def test_rq_sees_a_process_busy_while_coroutines_wait_in_it(
    bgworker: WorkerFactory, effects: Effects, redis_client: redis.Redis
) -> None:
    bgworker()
    jobs = many(tasks.wait_at_gate_async, effects, 2)
    wait_until(lambda: begun(effects) == 2)
    [seen] = rq.Worker.all(redis_client)
    wait_until(lambda: seen.get_current_job_id() in {job.id for job in jobs})
    through(effects, jobs)
    wait_until(lambda: rq.Worker.all(redis_client)[0].get_state() == "idle")
