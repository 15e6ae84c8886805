"""Jobs that run side by side do not get into each other's way, nor into their own."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest
import redis
from django.db import connection
from django.utils import timezone

from django_bgtasks.jobs.actions import cancel_job, retry_job
from django_bgtasks.jobs.enqueue import build
from django_bgtasks.models import Attempt, Job
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.executors.threads import ThreadRunner
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import SharedState
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, unfinished, wait_for_state
from .test_side_by_side import MANY, WAYS, begun, many, through


@pytest.mark.long(after=1)
@pytest.mark.parametrize(("task", "options"), WAYS)
def test_a_second_message_of_a_job_that_runs_changes_nothing(
    bgworker: WorkerFactory,
    effects: Effects,
    redis_client: redis.Redis,
    task: Any,
    options: tuple[object, ...],
) -> None:
    worker = bgworker(*options)
    [job] = many(task, effects, 1)
    wait_until(lambda: begun(effects) == 1)
    redis_client.lpush(waiting_in("default"), str(job.id))
    wait_until(lambda: not redis_client.exists(waiting_in("default")))
    # A claim that no process shows would be released within two looks of maintenance.
    later = tasks.record.using(run_after=timezone.now() + timedelta(seconds=5)).enqueue(
        str(effects), "later"
    )
    wait_for_state(later, "succeeded", 30)
    assert begun(effects) == 1
    through(effects, [job])
    assert worker.stop() == 0


@pytest.mark.long(after=1)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        pytest.param(tasks.fail_at_first_async, (), id="coroutines"),
        pytest.param(tasks.fail_at_first, ("--threads", MANY), id="threads"),
    ],
)
def test_jobs_that_are_tried_again_at_once_run_once_for_each_attempt(
    bgworker: WorkerFactory, effects: Effects, task: Any, options: tuple[object, ...]
) -> None:
    worker = bgworker(*options)
    jobs = many(task, effects, 150)
    wait_until(lambda: unfinished() == 0, 60)
    assert set(Job.objects.values_list("state", "attempt", "claims")) == {("succeeded", 2, 2)}
    assert set(Counter(effects.texts).values()) == {1}
    assert Attempt.objects.count() == len(jobs)
    assert "could not be looked after" not in worker.output
    assert worker.stop() == 0


@pytest.mark.long(after=1)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        pytest.param(tasks.wait_at_gate_async, (), id="coroutines"),
        pytest.param(tasks.wait_at_gate, ("--threads", 4), id="threads"),
    ],
)
def test_a_cancelled_job_that_is_retried_is_not_cancelled_again(
    bgworker: WorkerFactory, effects: Effects, task: Any, options: tuple[object, ...]
) -> None:
    bgworker(*options)
    [job] = many(task, effects, 1)
    wait_until(lambda: begun(effects) == 1)
    assert cancel_job(job.id) == "requested"
    wait_for_state(job, "cancelled")
    retry_job(job.id)
    wait_until(lambda: begun(effects) == 2)
    # In this time the next look at what is to be cancelled has come.
    wait_for_state(
        tasks.record.using(run_after=timezone.now() + timedelta(seconds=1)).enqueue(
            str(effects), "later"
        ),
        "succeeded",
    )
    effects.open_gate()
    assert wait_for_state(job, "succeeded").result == "through"


def test_what_a_cancelled_coroutine_awaits_to_clean_up_is_let_alone(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    job = tasks.clean_up_async.enqueue(str(effects))
    wait_until(lambda: begun(effects) == 1)
    assert cancel_job(job.id) == "requested"
    wait_for_state(job, "cancelled")
    assert effects.texts == ["begin", "clean"]


@pytest.mark.long
def test_a_coroutine_that_blocks_in_a_task_of_its_own_is_the_one_that_is_killed(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker()
    others = many(tasks.wait_at_gate_async.using(timeout=4), effects, 3)
    wait_until(lambda: begun(effects) == 3)
    job = tasks.block_in_a_task_of_its_own_once.using(timeout=5).enqueue(str(effects))
    wait_until(lambda: "Killing job process" in worker.output, timeout=20)
    assert f"timeout in job {job.id}" in worker.output
    wait_until(lambda: begun(effects) == 6)
    assert outcomes(job) == ["timeout"]
    through(effects, others)
    assert wait_for_state(job, "succeeded").attempt == 2


def test_a_coroutine_that_asks_no_database_does_not_wait_for_the_query_of_another(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    holding = tasks.hold_the_orm_thread.enqueue(str(effects))
    wait_until(lambda: begun(effects) == 1)
    # Later than the connections were looked at last.
    job = tasks.record_async.using(run_after=timezone.now() + timedelta(seconds=1.5)).enqueue(
        str(effects), "passed"
    )
    wait_for_state(job, "succeeded", 10)
    assert row(holding).state == "running"
    through(effects, [holding])


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("task", "options", "end"),
    [
        pytest.param(tasks.wait_at_gate_async, (), ("succeeded", 2), id="coroutines"),
        pytest.param(tasks.wait_at_gate_only_once, ("--threads", 4), ("failed", 1), id="threads"),
    ],
)
def test_a_settlement_that_the_database_refuses_ends_the_process_and_strands_nothing(
    bgworker: WorkerFactory,
    effects: Effects,
    task: Any,
    options: tuple[object, ...],
    end: tuple[str, int],
) -> None:
    table = Job._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TRIGGER refuse BEFORE UPDATE ON {table} "
            "WHEN OLD.claims = 1 AND NEW.state = 'succeeded' "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    try:
        worker = bgworker(*options)
        jobs = many(task, effects, 3)
        wait_until(lambda: begun(effects) == 3)
        effects.open_gate()
        wait_until(lambda: unfinished() == 0, 30)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse")
    # One that another's crash has interrupted once more is claimed once more.
    state, claims = end
    assert {row(job).state for job in jobs} == {state}
    assert min(row(job).claims for job in jobs) == claims
    assert "not this one" in worker.output


@pytest.mark.parametrize("error", [LookupError("broken"), SystemExit(3)])
def test_what_a_sites_receiver_raises_beside_the_main_thread_ends_the_process_at_once(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """And not only the settling thread: without it nothing is settled, and no limit holds."""
    codes: SimpleQueue[int] = SimpleQueue()

    def end(code: int) -> None:
        codes.put(code)
        # As if the process were gone: the thread does nothing more.
        Event().wait()

    def settle(runs: list[Any], using: str) -> list[Any]:
        raise error

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(ThreadRunner, "main", lambda attempt: None)
    monkeypatch.setattr("django_bgtasks.worker.executors.settling_thread.settle_runs", settle)
    shared, job = SharedState(), build(tasks.record, ("", ""), {})
    process = JobProcess(WorkerConfig("default", "default", threads=2), shared)
    shared.popped(job.pk)
    process.settling.start()
    assert process.threads.submit([job]) == []
    assert codes.get(timeout=10) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_process_that_a_task_forks_in_a_thread_ends_as_everywhere(
    bgworker: WorkerFactory, threads: int
) -> None:
    job = tasks.exit_code_of_a_process_that_it_forks.enqueue()
    assert bgworker("--burst", "--threads", threads).wait() == 0
    assert (row(job).state, row(job).result) == ("succeeded", 0)


@pytest.mark.long
def test_a_coroutine_that_blocks_the_loop_right_after_another_is_killed_in_time_too(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    """The loop runs both before it answers that it is alive again."""
    worker = bgworker()
    first = tasks.block_the_loop_together.using(timeout=30).enqueue(str(effects), 2.5)
    wait_until(lambda: begun(effects) == 1)
    second = tasks.block_the_loop_together.using(timeout=5).enqueue(str(effects), 60)
    wait_until(lambda: begun(effects) == 2)
    tasks.block_the_loop_now.enqueue()
    wait_until(lambda: "Killing job process" in worker.output, timeout=20)
    assert f"timeout in job {second.id}" in worker.output
    assert row(first).state == "succeeded"
