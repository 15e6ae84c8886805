"""Many at once: a batch ends once, and nobody waits for each other in a circle.

On PostgreSQL and MariaDB they meet within their transactions; SQLite lets one write at a time.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import zip_longest
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from django_bgtasks import BatchClosed, ClaimLost, InvalidMove, chain, group
from django_bgtasks.core import clock
from django_bgtasks.core.errors import DuplicateJob
from django_bgtasks.core.outcomes import DeathCause
from django_bgtasks.jobs.actions import cancel_job, delete_jobs, retry_job
from django_bgtasks.jobs.execute import claim_jobs, run_claimed, settle_runs
from django_bgtasks.jobs.expiry import expire_jobs
from django_bgtasks.ledger.connection import retry_on_conflict
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.worker.maintenance.dead_processes import Death, settle_death
from django_bgtasks.workflows import followers
from django_bgtasks.workflows.actions import cancel_batch, retry_batch
from django_bgtasks.workflows.open_batch import OpenBatch
from django_bgtasks.workflows.tree import insert_elements
from tests.app.models import Note
from tests.threads import in_threads

from . import tasks
from .machine_tasks import ORDERS, RAN, act
from .rules import Rows

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_messages"),
    pytest.mark.timeout(600),
]
ALL = os.environ.get("BGTASKS_TEST_FAULTS") == "all"
DB, ROUNDS = "default", 40 if ALL else 6
PAST = timedelta(hours=-1)


def queued() -> list[UUID]:
    return list(Job.objects.filter(state="queued").order_by("pk").values_list("pk", flat=True))


def run_all(ids: list[UUID], together: bool = False) -> None:
    """Claim and run these jobs, one after another, or settle them in one commit."""
    with without_redis():
        jobs = claim_jobs(ids, clock.new_id(), DB)
        runs = [run_claimed(job, DB, grouped=together) for job in jobs]
        settle_runs([run for run in runs if run is not None], DB)


def notes() -> list[str]:
    return sorted(Note.objects.values_list("text", flat=True))


@pytest.mark.parametrize("together", [False, True])
def test_the_last_members_end_at_the_same_moment(together: bool) -> None:
    """As in pg-boss 777 and good_job 832, where nobody, or everybody, was the last."""
    for _ in range(ROUNDS):
        Note.objects.all().delete()
        parts = group(chain(tasks.double.step(number), group()) for number in range(8))
        flow = chain(group(parts, tasks.double.step(1)), tasks.note.step("next"))
        run = flow.using(on_complete=tasks.note.step("complete")).enqueue()
        ids = queued()
        in_threads(*(partial(run_all, ids[first::4], together) for first in range(4)))
        # Without a sweep: somebody has seen that all have ended.
        assert len(queued()) == 1
        run_all(queued())
        assert run.outcome == "succeeded"
        run_all(queued())
        assert notes() == ["complete", "next"]
    assert not Rows().faults_at_the_end()


def test_the_first_failures_of_nested_groups_happen_at_the_same_moment() -> None:
    for _ in range(ROUNDS):
        Note.objects.all().delete()
        inner = [
            group(tasks.fail.step(), tasks.double.step(1)).using(
                on_failure=tasks.note.step(str(number))
            )
            for number in range(4)
        ]
        run = chain(group(inner), tasks.note.step("never"))
        handle = run.using(on_failure=tasks.note.step("failure")).enqueue()
        ids = queued()
        in_threads(*(partial(run_all, ids[first::4]) for first in range(4)))
        run_all(queued())
        assert (handle.outcome, notes()) == ("failed", ["0", "1", "2", "3", "failure"])
    assert not Rows().faults_at_the_end()


def test_a_group_grows_while_what_it_waits_for_ends() -> None:
    """As in rq 739 and 1615: what is added meanwhile is not forgotten."""
    for _ in range(ROUNDS):
        parts = chain(tasks.double.step(1), group(name="parts"), tasks.collect.step())
        run = group(tasks.grow.step(0), parts).enqueue()
        adder, ends = claim_jobs(queued(), clock.new_id(), DB)
        target = OpenBatch(Batch.objects.get(root=run.id, name="parts"), adder, insert_elements, DB)
        steps = [chain(tasks.double.step(2), group(tasks.double.step(3))), tasks.double.step(4)]

        def add(target: OpenBatch = target, steps: Any = steps) -> None:
            with suppress(BatchClosed), without_redis():
                target.add(steps)

        in_threads(add, partial(_run, ends))
        _run(adder)
        run_jobs()
        assert run.outcome == "succeeded"
    assert not Rows().faults_at_the_end()


def _run(job: Job) -> None:
    with without_redis():
        run_claimed(job, DB)


def test_a_group_grows_while_its_last_other_member_ends() -> None:
    for _ in range(ROUNDS):
        run = chain(
            group(tasks.grow.step(2), tasks.double.step(1)), tasks.note.step("next")
        ).enqueue()
        in_threads(*(partial(run_all, [one]) for one in queued()))
        assert run.outcome == ""
        run_jobs()
        assert (run.outcome, run.progress().total) == ("succeeded", 5)
    assert not Rows().faults_at_the_end()


def test_a_rescued_attempt_adds_while_another_one_ends_it() -> None:
    for _ in range(ROUNDS):
        run = chain(tasks.split.step(1), group(name="parts")).enqueue()
        [zombie] = claim_jobs(queued(), clock.new_id(), DB)
        Job.objects.filter(pk=zombie.pk).update(max_attempts=zombie.attempt)
        target = OpenBatch(
            Batch.objects.get(root=run.id, name="parts"), zombie, insert_elements, DB
        )
        death = Death(zombie.pk, zombie.claims, zombie.worker, DeathCause.CRASH)

        def add(target: OpenBatch = target) -> None:
            with suppress(BatchClosed, ClaimLost), without_redis():
                target.add(tasks.double.step(1), chain(tasks.double.step(2)))

        def bury(death: Death = death) -> None:
            with without_redis():
                assert settle_death(death, DB)

        in_threads(add, bury)
        assert run.outcome == "failed"
    assert not Rows().faults_at_the_end()


def test_a_batch_of_a_dedup_key_is_enqueued_once_by_many() -> None:
    flow = chain(tasks.double.step(1)).using(dedup_key="file:7")

    def enqueue() -> bool:
        with without_redis():
            return flow.enqueue().deduplicated

    assert sorted(in_threads(*[enqueue] * 6)) == [False, *[True] * 5]
    assert (Batch.objects.count(), Job.objects.count()) == (1, 1)


Crowd = list[Callable[[random.Random], None]]


def work(rng: random.Random) -> None:
    """A worker: it claims some, and each ends in some way."""
    ids = queued()
    rng.shuffle(ids)
    jobs = claim_jobs(ids[: rng.randint(1, 3)], clock.new_id(), DB)
    together = rng.random() < 0.5
    runs = []
    for job in jobs:
        ORDERS[job.pk] = rng.choice(["succeed", "succeed", "succeed", "raise", "grow", "again"])
        if rng.random() < 0.1:
            settle_death(Death(job.pk, job.claims, job.worker, DeathCause.CRASH), DB)
        else:
            runs.append(run_claimed(job, DB, grouped=together))
    settle_runs([run for run in runs if run is not None], DB)


def cancel_something(rng: random.Random) -> None:
    batches = list(Batch.objects.filter(finished_at=None))
    live = list(Job.objects.live())
    if batches and rng.random() < 0.5:
        cancel_batch(rng.choice(batches).pk)
    elif live:
        cancel_job(rng.choice(live).pk)


def retry_something(rng: random.Random) -> None:
    ended = list(Job.objects.filter(state__in=["failed", "cancelled"]))
    if ended and rng.random() < 0.7:
        retry_job(rng.choice(ended).pk)
    elif batches := list(Batch.objects.all()):
        retry_batch(rng.choice(batches).pk)


def expire_something(rng: random.Random) -> None:
    waiting = list(Job.objects.waiting().values_list("pk", flat=True))
    for one in rng.sample(waiting, min(3, len(waiting))):
        row = Job.objects.filter(pk=one).waiting()
        retry_on_conflict(partial(row.update, expires_at=clock.now() + PAST), DB)
    expire_jobs(100, DB)


def delete_something(rng: random.Random) -> None:
    idle = list(Job.objects.exclude(state="running"))
    some = rng.sample(idle, min(2, len(idle)))
    delete_jobs({job.pk: job.state for job in some})


def sweep(rng: random.Random) -> None:
    followers.sweep(DB)


def random_flow(rng: random.Random, depth: int = 3) -> Any:
    """A tree of steps, chains and groups with callbacks."""
    if depth == 0 or rng.random() < 0.3:
        return act.step()
    parts = [random_flow(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    flow = rng.choice([chain, group])(*parts)
    names = [one for one in ("on_success", "on_failure", "on_complete") if rng.random() < 0.3]
    return flow.using(**{name: act.step() for name in names})


# What may come of two people who want different things.
REFUSALS = (InvalidMove, DuplicateJob, Job.DoesNotExist, Batch.DoesNotExist)


@pytest.mark.parametrize(
    "crowd",
    [
        pytest.param([work, work, work, cancel_something], id="cancel"),
        pytest.param([work, work, work, retry_something], id="retry"),
        pytest.param([work, work, expire_something, expire_something], id="expire"),
        pytest.param([work, work, delete_something, sweep], id="delete"),
        pytest.param(
            [work, work, work, cancel_something, retry_something, expire_something, sweep],
            id="all",
        ),
    ],
)
def test_whatever_many_do_at_once_all_ends_and_nobody_waits_in_a_circle(
    crowd: Crowd, caplog: pytest.LogCaptureFixture
) -> None:
    number = int(os.environ.get("BGTASKS_TEST_SEED") or random.SystemRandom().getrandbits(32))
    print(f"BGTASKS_TEST_SEED={number}")
    rng = random.Random(number)
    deadlocks = count_deadlocks()
    for _ in range(ROUNDS // 2):
        ORDERS.clear()
        RAN.clear()
        for _ in range(4):
            group(random_flow(rng), random_flow(rng)).enqueue()
        seeds = [rng.random() for _ in crowd]

        def act_often(act: Callable[[random.Random], None], seed: float) -> None:
            mine = random.Random(seed)
            with without_redis():
                for _ in range(15):
                    with suppress(*REFUSALS):
                        act(mine)

        in_threads(*(partial(act_often, *pair) for pair in zip_longest(crowd, seeds)))
        finish()
        roots = set(Batch.objects.values_list("root", flat=True))
        changed = roots if retry_something in crowd or delete_something in crowd else ()
        assert not Rows(changed).faults_at_the_end()
    assert count_deadlocks() == deadlocks
    assert "is left to maintenance" not in caplog.text


def finish() -> None:
    """Run what is left, as nothing goes wrong any more."""
    for _ in range(2):
        run_jobs()
        followers.sweep(DB)
    assert not Job.objects.live().exists()


def count_deadlocks() -> int:
    """How many the server has seen in this database."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
