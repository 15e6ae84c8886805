"""Each workflow comes to its end and to the right one, whoever is killed at whatever moment."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID

import pytest

from django_bgtasks import chain, group
from django_bgtasks.jobs.actions import retry_job
from django_bgtasks.models import Batch, Job
from django_bgtasks.workflows.handle import BatchHandle
from testproject.servers import RedisServer
from tests.waiting import wait_until
from tests.workflows.rules import Rows

from . import workflow_tasks as tasks
from .case import SOON, Case
from .storm import Storm
from .strikes import Strike

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]
# Seconds until the end of what is left after the storm.
CALM = 600.0
OPTIONS = ("--processes", 3)
CALLBACKS = ("on_success", "on_failure", "on_complete")


class Grower:
    """Makes random workflows. rows: about how many jobs are left for this one."""

    def __init__(self, rng: Random, rows: int, risk: float) -> None:
        self.rng, self.rows, self.risk = rng, rows, risk
        self.fails, self.names = False, 0

    def flow(self) -> Any:
        """The whole of it."""
        flow = self._many(chain if self.rng.random() < 0.5 else group, depth=0)
        return flow.using(on_complete=tasks.atomic.step())

    def _many(self, kind: Any, depth: int) -> Any:
        parts, widest = [], 2 + self.rows // (2 + depth)
        for _ in range(self.rng.randint(1, max(2, widest))):
            if self.rows <= 0:
                break
            parts += self._element(depth)
        flow = kind(*parts)
        if depth and self.rng.random() < 0.3:
            name = self.rng.choice(CALLBACKS)
            self.rows -= 1
            return flow.using(**{name: tasks.atomic.step()})
        return flow

    def _element(self, depth: int) -> list[Any]:
        self.rows -= 1
        chance = self.rng.random()
        if depth < 4 and chance < 0.25:
            return [self._many(self.rng.choice((chain, group)), depth + 1)]
        if chance < 0.32:
            self.names += 1
            name, count = f"parts {self.names}", self.rng.randint(0, 6)
            self.rows -= count
            return [chain(tasks.split.step(count, name), group(name=name))]
        if self.rng.random() < self.risk:
            self.fails = True
            return [tasks.gives_up.step()]
        return [self.rng.choice((tasks.plain, tasks.atomic)).step()]


def enqueue_all(case: Case, rng: Random, count: int, most: int) -> list[tuple[BatchHandle, str]]:
    """So many workflows, of up to so many rows, with the outcome that each must have."""
    expected = []
    for _ in range(count):
        rows = min(most, int(8 * rng.paretovariate(0.8)))
        grower = Grower(rng, rows, risk=rng.choice((0.0, 0.0, 0.05)))
        expected.append((grower.flow().enqueue(), "failed" if grower.fails else "succeeded"))
    case.committed += [str(pk) for pk in Job.objects.values_list("pk", flat=True)]
    return expected


class Retries:
    """Somebody retries what has crashed too often; changed: in which workflows."""

    def __init__(self) -> None:
        self.changed: set[UUID] = set()

    def run(self, rng: Random | None = None) -> int:
        """How many there were."""
        crashed = Job.objects.filter(state="failed").exclude(task=tasks.gives_up.module_path)
        jobs = list(crashed)
        for job in jobs:
            found = Batch.objects.filter(pk__in=[one for one in (job.batch, job.gate) if one])
            self.changed |= set(found.values_list("root", flat=True))
            retry_job(job.pk)
        return len(jobs)


def is_over() -> bool:
    """Nothing is live, nor open."""
    live, unfinished = Job.objects.live(), Batch.objects.filter(finished_at=None)
    return not live.exists() and not unfinished.exists()


@pytest.mark.parametrize(
    ("workflows", "most", "workers", "longest"),
    [
        pytest.param(8, 40, 1, 3.0, id="8 workflows"),
        pytest.param(200, 500, 2, 60.0, id="200 workflows", marks=pytest.mark.long),
    ],
)
def test_all_workflows_end_as_they_must_while_processes_are_killed_and_redis_is_flushed(
    case: Case, own_redis: RedisServer, workflows: int, most: int, workers: int, longest: float
) -> None:
    case.row("Kills", "SIGKILL every 50 ms, FLUSHALL every 3 s, with workflows of random shape")

    def flush(rng: Random) -> None:
        own_redis.flushall()

    retries = Retries()
    storm = Storm(case, OPTIONS, workers, [(1.0, retries.run), (3.0, flush)])
    expected = enqueue_all(case, storm.rng, workflows, most)
    try:
        storm.rage(is_over, longest)
    finally:
        print(storm.counts, Job.objects.count(), "jobs")
    wait_until(is_over, CALM, "all workflows are over")
    while retries.run():
        wait_until(is_over, CALM, "all workflows are over")
    assert not Rows(retries.changed).faults_at_the_end()
    assert [handle.outcome for handle, _ in expected] == [outcome for _, outcome in expected]
    assert case.entry is not None
    case.entry.times = storm.counts["processes"] + storm.counts["workers"]


@pytest.mark.parametrize(
    "strike",
    [
        Strike("in body"),
        Strike("before settle"),
        Strike("after settle"),
        Strike("after move"),
        Strike("before finish"),
        Strike("after finish"),
        Strike("after finish", "tree"),
    ],
    ids=lambda strike: f"{strike.point} {strike.victim}",
)
def test_what_comes_after_a_group_comes_whoever_dies_between_its_end_and_that(
    case: Case, strike: Strike
) -> None:
    """As in celery 1881, 4207 and 9674: a chord that hangs for ever."""
    case.row("Kills", "SIGKILL between the end of a group and what follows it")
    parts = chain(tasks.split.step(3, "parts"), group(name="parts"))
    flow = chain(group(parts, group(tasks.plain.step())), tasks.atomic.step())
    run = flow.using(on_complete=tasks.atomic.step(), on_success=tasks.atomic.step()).enqueue()
    case.committed += [str(pk) for pk in Job.objects.values_list("pk", flat=True)]
    case.worker("--processes", 2, strike=strike, env=SOON)
    case.struck_at()
    if strike.victim == "tree":
        case.worker("--processes", 2, env=SOON)
    with case.recovers(20):
        wait_until(is_over, 40, "the workflow is over")
    assert (run.outcome, Job.objects.count()) == ("succeeded", 8)
    assert not Rows().faults_at_the_end()


def test_a_worker_that_dies_while_it_makes_a_batch_leaves_nothing_of_it(case: Case) -> None:
    case.row("Kills", "SIGKILL within `with batch()`")
    case.worker(strike=Strike("in body"), env=SOON)
    case.enqueue(tasks.mail, 6)
    case.struck_at()
    with case.recovers(15):
        case.wait_final()
        wait_until(is_over, 20, "the batch is over")
    # That of the second attempt.
    [batch] = Batch.objects.all()
    assert (batch.outcome, batch.total, Job.objects.count()) == ("succeeded", 6, 8)
