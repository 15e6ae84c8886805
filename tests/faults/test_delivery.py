"""Delivery: messages that come often, too early or for nothing; zombies; two of a kind."""

from __future__ import annotations

import contextlib
import random
import signal
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import psutil
import pytest
import redis
from django.db import connection, transaction
from django.utils import timezone

from django_bgtasks import cancel_job
from django_bgtasks.core import clock
from django_bgtasks.ledger.lifecycle import claim, ledger_database
from django_bgtasks.models import Attempt, Job, Worker
from django_bgtasks.testing import without_redis
from django_bgtasks.worker.maintenance import rescue
from tests.maintenance import wait_for_maintenance
from tests.named import namespace, waiting_in
from tests.threads import in_threads
from tests.workers import WorkerProcess

from . import delivery_tasks, tasks
from .case import SOON, Case
from .strikes import Strike

pytestmark = pytest.mark.faults

LOST_MESSAGE = 30.0
WIPED = 5.0
# A worker that is called dead soon; the default is 10 s.
SECONDS = {"soon": (SOON, 9.0), "default": ({}, 15.0)}


def push(redis_client: redis.Redis, *ids: object) -> None:
    """Put ids into the list of the default queue, as messages."""
    redis_client.rpush(waiting_in("default"), *map(str, ids))


def wait_until_taken(case: Case, redis_client: redis.Redis) -> None:
    """Wait until all messages are popped and no worker holds one any more."""

    def idle() -> bool:
        names = redis_client.smembers("rq:workers")
        current_jobs = [redis_client.hget(name, "current_job") for name in names]
        return not redis_client.llen(waiting_in("default")) and not any(current_jobs)

    case.wait_until(idle)


def family_of(worker: WorkerProcess) -> list[psutil.Process]:
    """The supervisor, and then its children."""
    supervisor = psutil.Process(worker.pid)
    return [supervisor, *supervisor.children()]


def wake(*processes: psutil.Process) -> None:
    """SIGCONT, to those that are still there."""
    for process in processes:
        # The supervisor, once awake, kills its children before their turn comes.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


@pytest.mark.parametrize("jobs", [40, pytest.param(400, marks=pytest.mark.long)])
def test_messages_that_come_ten_times_and_in_any_order_run_each_job_once(
    case: Case, redis_client: redis.Redis, jobs: int
) -> None:
    case.row("Delivery", "every message ten times, shuffled", times=jobs)
    chance = random.Random(seed := 4711 + jobs)
    print(f"seed {seed}")
    with without_redis():
        kinds = [tasks.plain, tasks.atomic]
        ids = [case.enqueue(kinds[number % 2]).id for number in range(jobs)]
    messages = ids * 10
    chance.shuffle(messages)
    push(redis_client, *messages)
    for _ in range(2):
        case.worker("--processes", 2)
    case.wait_final()
    wait_until_taken(case, redis_client)
    assert case.effects.times("begin") == dict.fromkeys(ids, 1)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}


def test_messages_that_name_no_job_that_waits_are_dropped(
    case: Case, redis_client: redis.Redis
) -> None:
    case.row(
        "Delivery", "messages with unknown, forged, ended, cancelled and not yet due ids", times=60
    )
    ended, cancelled, later = (
        case.enqueue(tasks.plain),
        case.enqueue(tasks.plain),
        case.enqueue(tasks.plain, run_after=clock.now() + timedelta(hours=1)),
    )
    cancel_job(cancelled.id)
    case.worker()
    case.wait_until(lambda: case.job(ended).is_final)
    known = [ended.id, cancelled.id, later.id]
    forged = [f"{uuid.UUID(i)}".upper() for i in known] + [f"{{{i}}}" for i in known]
    unknown = [uuid.UUID(int=number) for number in range(10)]
    garbage = ["", "None", "-1", "0" * 36, "'; --", known[0] + known[1], known[0][:-1]]
    push(redis_client, *known * 10, *forged, *unknown, *garbage * 2)
    wait_until_taken(case, redis_client)
    after = case.enqueue(tasks.plain)
    case.wait_until(lambda: case.job(after).is_final)
    assert case.effects.times("begin") == {ended.id: 1, after.id: 1}
    assert (case.job(cancelled).state, case.job(later).state) == ("cancelled", "scheduled")
    assert Job.objects.filter(claims__gt=1).count() == 0


@pytest.mark.parametrize("again", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_message_that_comes_before_its_job_is_committed_neither_runs_nor_loses_it(
    case: Case, redis_client: redis.Redis, again: bool
) -> None:
    """again: whether the message of the commit comes too; maintenance finds the job without it."""
    injected = "and none after it" if not again else "and again after it"
    case.row("Delivery", f"a message before the commit of its job, {injected}")
    case.worker()
    case.wait_until(lambda: redis_client.smembers("rq:workers"))
    with contextlib.nullcontext() if again else without_redis(), transaction.atomic():
        job = case.enqueue(tasks.atomic)
        push(redis_client, job.id)
        case.wait_until(lambda: not redis_client.llen(waiting_in("default")))
        if connection.vendor == "postgresql":
            # On SQLite its claim waits for this transaction, and then finds the row.
            wait_until_taken(case, redis_client)
        assert not case.effects.entries
    with case.recovers(within=3.0 if again else LOST_MESSAGE):
        case.wait_final()
    assert case.effects.times("begin") == {job.id: 1}


def test_a_job_that_was_rolled_back_never_runs_though_its_message_comes(
    case: Case, redis_client: redis.Redis
) -> None:
    case.row("Delivery", "an enqueue that is rolled back, and its message all the same", times=20)
    case.worker()
    gone = []
    for number in range(20):
        with transaction.atomic():
            # Half of them to a savepoint, in a transaction that commits another job.
            outer = case.enqueue(tasks.plain) if number % 2 else None
            with contextlib.suppress(ValueError), transaction.atomic():
                gone.append(tasks.atomic.enqueue().id)
                raise ValueError("changed its mind")
            assert outer is None or outer.id != gone[-1]
        push(redis_client, gone[-1])
    case.enqueue(tasks.plain)
    case.wait_final()
    wait_until_taken(case, redis_client)
    assert case.effects.times("begin") == dict.fromkeys(case.committed, 1)
    assert not Job.objects.filter(pk__in=gone).exists()


POINTS = ("after fetch", "after claim", "in body", "before settle")
MODES: dict[str, Any] = {
    "default": tasks.plain,
    "atomic": tasks.atomic,
    "on_crash=fail": tasks.careful,
}


def freezes() -> list[Any]:
    """All cases; the default run has one of them, with a worker that is called dead soon."""
    cases = []
    for point in POINTS:
        for mode in MODES:
            for speed in SECONDS:
                short = (point, mode, speed) == ("in body", "default", "soon")
                # SQLite has one writer: who holds its lock and stands still stops all.
                alone = point in ("in body", "before settle") and mode == "atomic"
                marks = [] if short else [pytest.mark.long]
                marks += [pytest.mark.postgres] if alone else []
                name = f"{point} {mode} {speed}".replace(" ", "-")
                cases.append(pytest.param(point, mode, speed, id=name, marks=marks))
    return cases


@pytest.mark.long
@pytest.mark.parametrize(("point", "mode", "speed"), freezes())
def test_a_worker_that_stood_still_past_its_rescue_settles_nothing_when_it_goes_on(
    case: Case, point: str, mode: str, speed: str
) -> None:
    case.row(
        "Delivery", f"SIGSTOP of a whole worker past its rescue, at {len(POINTS)} points, then CONT"
    )
    env, bound = SECONDS[speed]
    frozen = case.worker(strike=Strike(point, "tree", number=signal.SIGSTOP), env=env)
    wait_for_maintenance()
    job = case.enqueue(MODES[mode])
    struck = case.struck_at()
    old = Worker.objects.get()
    processes = family_of(frozen)
    case.worker(env=env)
    case.wait_until(lambda: Worker.objects.filter(pk=old.pk).exclude(lost_at=None).exists())
    if point == "after fetch":
        # The message is in the hands of the frozen one: maintenance sends another.
        bound += LOST_MESSAGE
    case.wait_final()
    case.recovered(case.now() - struck, within=bound)
    settled = case.job(job)
    [process] = [p for p in processes[1:] if _struck(case, p)]
    # The job process first, and alone: it does its worst before the supervisor looks.
    wake(process)
    if point in ("after claim", "in body", "before settle"):
        frozen.wait_for("no longer holds its claim")
    wake(*processes)
    frozen.wait_for("it starts again with a new id")
    case.wait_until(lambda: Worker.objects.filter(lost_at=None).count() == 2)
    after = Job.objects.get(pk=job.id)
    assert (after.state, after.claims, after.worker) == (
        settled.state,
        settled.claims,
        settled.worker,
    )
    failed = mode == "on_crash=fail" and point != "after fetch"
    assert after.state == ("failed" if failed else "succeeded")
    assert case.outcomes(job) == ([] if point == "after fetch" else ["crash"])


def _struck(case: Case, process: psutil.Process) -> bool:
    return process.pid == case.effects.of("struck")[0].pid


@pytest.mark.long
@pytest.mark.postgres
def test_a_worker_that_stands_still_with_its_row_locked_does_not_hold_up_the_others(
    case: Case,
) -> None:
    case.row("Delivery", "SIGSTOP of a worker that holds the lock of its job's row")
    frozen = case.worker(strike=Strike("after move", "tree", number=signal.SIGSTOP), env=SOON)
    locked = case.enqueue(tasks.atomic)
    case.struck_at()
    processes = family_of(frozen)
    case.worker(env=SOON)
    case.wait_until(lambda: Worker.objects.exclude(lost_at=None).exists())
    others = [case.enqueue(delivery_tasks.fails_at_first) for _ in range(5)]
    with case.recovers(within=5.0):
        case.wait_until(lambda: all(case.job(other).is_final for other in others))
    assert case.job(locked).state == "running"
    wake(*processes)
    case.wait_final()
    assert case.job(locked).state == "succeeded"


# SQLite has one writer: who holds its lock and stands still stops all.
@pytest.mark.postgres
def test_a_worker_that_stands_still_amid_its_maintenance_does_not_hold_up_that_of_others(
    case: Case,
) -> None:
    case.row("Delivery", "SIGSTOP of a worker whose maintenance is in a transaction")
    frozen = case.worker(strike=Strike("before add up", "tree", number=signal.SIGSTOP), env=SOON)
    case.struck_at()
    processes = family_of(frozen)
    case.worker(env=SOON).wait_for("database")
    for _ in range(3):
        with case.recovers(within=5.0):
            case.enqueue(tasks.plain, run_after=timezone.now() + timedelta(seconds=1))
            case.wait_final()
    wake(*processes)
    case.wait_until(lambda: Worker.objects.filter(lost_at=None).count() == 2)


def test_two_maintenances_send_what_a_wiped_redis_has_lost_once(
    case: Case, redis_client: redis.Redis
) -> None:
    case.row("Delivery", "two maintenances that find Redis wiped at once")
    for _ in range(2):
        # They serve another queue, so the messages stay where they can be counted.
        case.worker("emails")
    case.wait_until(lambda: Worker.objects.count() == 2)
    case.wait_until(lambda: redis_client.exists(namespace().marker_key))
    jobs = case.enqueue_many(tasks.plain, [()] * 200)
    redis_client.flushall()
    with case.recovers(within=WIPED):
        case.wait_until(lambda: redis_client.llen(waiting_in("default")) >= len(jobs))
    case.worker("--processes", 2)
    case.wait_final()
    assert case.effects.times("begin") == dict.fromkeys(case.committed, 1)
    assert not redis_client.llen(waiting_in("default"))


@pytest.mark.long
@pytest.mark.parametrize("rescuers", [2, 4])
def test_two_workers_that_rescue_the_same_jobs_at_once_rescue_each_of_them_once(
    case: Case, rescuers: int
) -> None:
    case.row("Delivery", "several healthy workers rescue the jobs of one dead at once")
    dead = case.worker("--processes", 4, env=SOON)
    jobs = [case.enqueue(tasks.wait_at_gate) for _ in range(4)]
    case.wait_until(lambda: len(case.effects.of("begin")) == 4)
    healthy = [case.worker("emails", env=SOON) for _ in range(rescuers)]
    case.wait_until(lambda: Worker.objects.count() == 1 + len(healthy))
    case.kill(dead)
    with case.recovers(within=9.0):
        case.wait_until(lambda: Attempt.objects.count() == 4)
    case.worker("--processes", 4)
    case.effects.open_gate()
    case.wait_final()
    assert [case.outcomes(job) for job in jobs] == [["crash"]] * 4
    assert {case.job(job).attempt for job in jobs} == {2}
    assert case.effects.times("begin") == {job.id: 2 for job in jobs}
    rescues = "".join(worker.output for worker in healthy).count("outcome=crash")
    assert rescues == 4


def test_rescuers_that_look_at_the_very_same_moment_rescue_each_job_once(case: Case) -> None:
    case.row("Delivery", "eight rescuers at the very same moment", times=20)
    jobs = [case.enqueue(tasks.plain) for _ in range(10)]
    for turn in (1, 2):
        for job in jobs:
            # By a worker that nobody has heard of.
            assert claim(case.job(job).pk, clock.new_id(), ledger_database())
        rescued = in_threads(*[partial(rescue.run_once, 10.0, ledger_database())] * 8)
        assert sum(rescued) == len(jobs)
        assert Attempt.objects.filter(attempt=turn, outcome="crash").count() == len(jobs)
    case.worker("--processes", 2)
    case.wait_final()
    assert case.effects.times("begin") == dict.fromkeys(case.committed, 1)
