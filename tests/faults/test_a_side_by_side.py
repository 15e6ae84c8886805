"""Case A for processes that hold many jobs at once: coroutines on a loop, functions in threads."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from django_bgtasks.models import Attempt, Job
from testproject.servers import RedisServer
from tests.waiting import wait_until

from . import tasks
from .case import Case

pytestmark = pytest.mark.faults
JOBS, AT_ONCE, SECONDS = 60, 20, 0.3
CHILD, TREE = 3.0, 15.0
WAYS = [
    pytest.param(tasks.wait_async, ("--async-concurrency", AT_ONCE), id="coroutines"),
    pytest.param(tasks.nap, ("--threads", AT_ONCE), id="threads"),
]


def busy(case: Case, task: Any) -> None:
    """Many jobs, of which a good part runs."""
    case.enqueue_many(task, [(SECONDS,)] * JOBS)
    wait_until(lambda: len(case.effects.of("begin")) >= AT_ONCE, 30)


@pytest.mark.parametrize(("task", "options"), WAYS)
@pytest.mark.parametrize("victim", ["child", pytest.param("tree", marks=pytest.mark.long)])
def test_a_kill_amid_many_jobs_loses_none_and_charges_each_that_ran_once(
    case: Case, task: Any, options: tuple[object, ...], victim: str
) -> None:
    case.row("A", f"SIGKILL of a {victim} with {AT_ONCE} jobs side by side")
    worker = case.worker(*options)
    busy(case, task)
    if victim == "child":
        job_child = case.effects.of("begin")[0].pid
        psutil.Process(job_child).kill()
    else:
        case.kill(worker)
        case.worker(*options)
    with case.recovers(within=CHILD if victim == "child" else TREE):
        wait_until(Attempt.objects.exists, 30)
        wait_until(lambda: not Job.objects.filter(state="running", claims=1).exists(), 30)
    case.wait_final()
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    charged = Attempt.objects.filter(outcome="crash").values_list("job", flat=True)
    assert len(set(charged)) == len(charged) <= AT_ONCE


@pytest.mark.parametrize(("task", "options"), WAYS)
def test_a_redis_that_is_flushed_under_many_jobs_loses_and_repeats_none(
    case: Case, own_redis: RedisServer, task: Any, options: tuple[object, ...]
) -> None:
    case.row("B", f"FLUSHALL with {AT_ONCE} jobs side by side")
    case.worker(*options)
    busy(case, task)
    with own_redis.client() as client:
        client.flushall()
    case.wait_final()
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}


@pytest.mark.parametrize(("task", "options"), WAYS)
def test_a_stop_amid_many_jobs_strands_and_repeats_none(
    case: Case, task: Any, options: tuple[object, ...]
) -> None:
    case.row("E", f"SIGTERM with {AT_ONCE} jobs side by side")
    worker = case.worker(*options)
    busy(case, task)
    assert case.stop(worker) == 0
    assert not Job.objects.filter(state="running").exists()
    case.worker(*options)
    case.wait_final()
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
