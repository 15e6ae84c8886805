"""Kills of processes that hold many jobs at once: coroutines on a loop, functions in threads."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from django_bgtasks.models import Attempt, Job
from testproject.servers import RedisServer
from tests.named import waiting_in
from tests.waiting import wait_until

from . import tasks
from .case import Case
from .databases import end_backends, with_options

pytestmark = pytest.mark.faults
JOBS, AT_ONCE, SECONDS = 60, 20, 0.3
PROCESS, TREE = 3.0, 15.0
WAYS = [
    pytest.param(tasks.wait_async, ("--async-concurrency", AT_ONCE), id="coroutines"),
    pytest.param(tasks.nap, ("--threads", AT_ONCE), id="threads"),
]


def busy(case: Case, task: Any) -> None:
    """Many jobs, of which a good part runs."""
    case.enqueue_many(task, [(SECONDS,)] * JOBS)
    wait_until(lambda: len(case.effects.of("begin")) >= AT_ONCE, 30)


@pytest.mark.long(after=1)
@pytest.mark.parametrize(("task", "options"), WAYS)
@pytest.mark.parametrize("victim", ["process", pytest.param("tree", marks=pytest.mark.long)])
def test_a_kill_amid_many_jobs_loses_none_and_charges_each_that_ran_once(
    case: Case, task: Any, options: tuple[object, ...], victim: str
) -> None:
    case.row("Kills", f"SIGKILL of a {victim} with {AT_ONCE} jobs side by side")
    worker = case.worker(*options)
    busy(case, task)
    if victim == "process":
        job_process = case.effects.of("begin")[0].pid
        psutil.Process(job_process).kill()
    else:
        case.kill(worker)
        case.worker(*options)
    with case.recovers(within=PROCESS if victim == "process" else TREE):
        wait_until(Attempt.objects.exists, 30)
        wait_until(lambda: not Job.objects.filter(state="running", claims=1).exists(), 30)
    case.wait_final()
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    charged = Attempt.objects.filter(outcome="crash").values_list("job", flat=True)
    assert len(set(charged)) == len(charged) <= AT_ONCE


@pytest.mark.long(after=1)
@pytest.mark.parametrize(("task", "options"), WAYS)
def test_a_redis_that_is_flushed_under_many_jobs_loses_and_repeats_none(
    case: Case, own_redis: RedisServer, task: Any, options: tuple[object, ...]
) -> None:
    case.row("Redis", f"FLUSHALL with {AT_ONCE} jobs side by side")
    case.worker(*options)
    busy(case, task)
    with own_redis.client() as client:
        client.flushall()
    case.wait_final()
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}


@pytest.mark.long(after=1)
@pytest.mark.parametrize(("task", "options"), WAYS)
def test_a_stop_amid_many_jobs_strands_and_repeats_none(
    case: Case, task: Any, options: tuple[object, ...]
) -> None:
    case.row("Deploys", f"SIGTERM with {AT_ONCE} jobs side by side")
    worker = case.worker(*options)
    busy(case, task)
    assert case.stop(worker) == 0
    assert not Job.objects.filter(state="running").exists()
    case.worker(*options)
    case.wait_final()
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}


@pytest.mark.postgres
@pytest.mark.parametrize("connections", [1, pytest.param(3, marks=pytest.mark.long)])
def test_jobs_side_by_side_make_do_with_a_small_pool(case: Case, connections: int) -> None:
    case.row(
        "Database", f"a pool of {connections} under coroutines and threads that ask the database"
    )
    env = with_options(pool={"min_size": 1, "max_size": connections, "timeout": 5})
    worker = case.worker("--threads", 4, env=env)
    both = (tasks.ask_and_wait, tasks.ask_and_wait_async)
    jobs = [case.enqueue(task, 0.2) for task in both * 10]
    case.wait_final()
    assert {case.job(job).state for job in jobs} == {"succeeded"}
    assert {case.job(job).attempt for job in jobs} == {1}
    # All have given back what they had.
    later = case.enqueue(tasks.atomic)
    case.wait_final()
    assert case.job(later).state == "succeeded"
    assert "couldn't get a connection" not in worker.output
    assert case.stop(worker) == 0


@pytest.mark.long(after=1)
@pytest.mark.parametrize(("task", "options"), WAYS)
@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.long)])
def test_second_messages_of_many_jobs_that_run_lose_and_repeat_none(
    case: Case, own_redis: RedisServer, task: Any, options: tuple[object, ...], killed: bool
) -> None:
    case.row(
        "Delivery", f"second messages of {AT_ONCE} jobs side by side{' and a SIGKILL' * killed}"
    )
    case.worker(*options)
    busy(case, task)
    ids = [str(job) for job in Job.objects.values_list("pk", flat=True)]
    with own_redis.client() as client:
        client.lpush(waiting_in("default"), *ids, *ids)
    if killed:
        psutil.Process(case.effects.of("begin")[0].pid).kill()
    case.wait_final()
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    assert killed or not Job.objects.exclude(attempt=1).exists()
    charged = Attempt.objects.filter(outcome="crash").values_list("job", flat=True)
    assert len(set(charged)) == len(charged) <= (AT_ONCE if killed else 0)


@pytest.mark.postgres
@pytest.mark.parametrize(("task", "options"), WAYS)
def test_sessions_of_the_database_that_end_under_many_jobs_lose_and_repeat_none(
    case: Case, task: Any, options: tuple[object, ...]
) -> None:
    case.row("Database", f"the end of all sessions with {AT_ONCE} jobs side by side")
    case.worker(*options)
    busy(case, task)
    end_backends()
    case.wait_final()
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
