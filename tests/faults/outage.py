"""What the cases about Redis share: a site that goes on, and how soon its jobs begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from testproject.servers import RedisServer
from tests.named import namespace
from tests.waiting import wait_until
from tests.workers import WorkerProcess

from . import tasks
from .case import Case

# Seconds: from a job's enqueue to its start, and for the call that enqueues it.
LATENCY = 2.0
VIEW = 2.0
AWAY, BACK = "is away", "is back."


def warm(case: Case) -> None:
    """One job through the worker, so that all of it is connected to Redis."""
    case.enqueue(tasks.plain)
    case.wait_final()


def latency(case: Case, result: Any) -> float:
    """Seconds until the job began, by the database's clock."""
    job = case.job(result)
    assert job.started_at is not None
    return (job.started_at - job.enqueued_at).total_seconds()


def goes_on(case: Case, seconds: float) -> float:
    """Enqueue one job after the other for so long; the worst latency of them.

    Enqueueing raises nothing and holds up no view.
    """
    end, worst, kinds = case.now() + seconds, 0.0, cycle((tasks.plain, tasks.atomic))
    while case.now() < end:
        worst = max(worst, latency_of_one(case, next(kinds)))
    return worst


def latency_of_one(case: Case, task: Any = tasks.plain) -> float:
    """Enqueue one job and wait until it has succeeded; its latency."""
    job = enqueued(case, task)
    wait_until(lambda: case.job(job).state == "succeeded", 20)
    return latency(case, job)


def enqueued(case: Case, task: Any) -> Any:
    """Enqueue as a view does, which cannot wait."""
    start = case.now()
    job = case.enqueue(task)
    assert case.now() - start < VIEW
    return job


def begun(case: Case, job: Any) -> None:
    """Wait until the job's body runs."""
    wait_until(lambda: case.effects.of("begin", job.id), 20)


def ran_once(case: Case) -> bool:
    """Whether the body of each job ran exactly once: nothing crashed."""
    return dict(case.effects.times("begin")) == dict.fromkeys(case.committed, 1)


def lines_with(worker: WorkerProcess, text: str) -> int:
    """In how many lines of its output a worker says this."""
    return sum(text in line for line in worker.output.splitlines())


@contextmanager
def returns(
    case: Case, server: RedisServer, worker: WorkerProcess, processes: int = 1
) -> Iterator[None]:
    """Redis comes back in the block; the worker then uses it again, and has said so."""
    yield
    case.wait_final()
    wait_until(lambda: lines_with(worker, BACK) == lines_with(worker, AWAY), 20)
    wait_registered(server, worker, processes)
    warm(case)


def wait_registered(server: RedisServer, worker: WorkerProcess, processes: int = 1) -> None:
    """Wait until Redis knows the job processes, and has its mark again."""
    assert worker.returncode is None
    with server.client() as client:
        wait_until(lambda: client.scard("rq:workers") == processes, 20)
        wait_until(lambda: client.exists(namespace().marker_key), 20)
