"""Deploys: workers that are stopped, killed, replaced by other code, or migrated."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import connection
from pytest_django import Settings

from django_bgtasks.core.states import State
from django_bgtasks.jobs.actions import run_job_now
from django_bgtasks.models import Attempt, Job
from testproject.servers import RedisServer
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerProcess

from . import tasks
from .case import Case
from .hosts import needs_namespaces
from .outage import begun, ran_once
from .proxy import Proxy
from .strikes import Strike

pytestmark = pytest.mark.faults

# Seconds: to be queued again after a stop, and after the loss of a whole worker.
REQUEUED, RESCUED = 3.0, 15.0
MILLISECOND = 0.001
QUEUES = ("default", "emails", "reports")
# Between two stops the worker must not run dry: a stop of an idle one proves nothing.
LOAD = 200
Stop = Callable[[WorkerProcess], None]


def to_supervisor(worker: WorkerProcess) -> None:
    """As `kill` and Docker do."""
    worker.send(signal.SIGTERM)


def to_group(worker: WorkerProcess) -> None:
    """As systemd and a terminal do."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGTERM)


def twice(worker: WorkerProcess) -> None:
    """An impatient operator."""
    worker.send(signal.SIGTERM)
    worker.wait_for("Stopping")
    to_group(worker)


TITLES: dict[Stop, str] = {
    to_supervisor: "SIGTERM to a busy worker, 1 ms away from Redis",
    to_group: "SIGTERM to the whole group of a busy worker",
    twice: "SIGTERM twice",
}


@pytest.fixture
def distant_redis(own_redis: RedisServer, settings: Settings) -> Iterator[redis.Redis]:
    """A Redis to which everything takes a millisecond more; a client that is near it."""
    with Proxy(("127.0.0.1", own_redis.port)) as proxy, own_redis.client() as near:
        proxy.delay = MILLISECOND
        location = f"redis://{proxy.host}:{proxy.port}/0"
        cache = {**settings.CACHES["default"], "LOCATION": location}
        settings.CACHES = {**settings.CACHES, "default": cache}
        yield near


def stops() -> list[Any]:
    """How often, in which way and by which seed: 5 stops in the default run, 140 in all."""
    cases = [pytest.param(to_supervisor, 5, 0, id="SIGTERM-5")]
    long = [(to_supervisor, 20, seed) for seed in range(1, 6)]
    long += [(way, 10, seed) for way in (to_group, twice) for seed in range(2)]
    for way, times, seed in long:
        name = f"{way.__name__}-{times}-seed{seed}"
        cases.append(pytest.param(way, times, seed, id=name, marks=pytest.mark.long))
    return cases


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("stop", "times", "seed"), stops())
def test_a_busy_worker_that_is_stopped_strands_loses_and_repeats_nothing(
    case: Case, distant_redis: redis.Redis, stop: Stop, times: int, seed: int
) -> None:
    case.row("Deploys", TITLES[stop], times=times)
    rng = random.Random(seed)
    for _ in range(times):
        fill(case)
        worker = busy_worker(case)
        # Any moment will do, and another one each time.
        time.sleep(rng.uniform(0, 0.3))
        with case.recovers(within=REQUEUED):
            stop(worker)
            assert worker.wait(20) == 0
        assert stranded(distant_redis) == set()
        assert "outcome=crash" not in worker.output
    case.worker("--processes", 2)
    case.wait_final()
    assert ran_once(case)
    assert not Attempt.objects.exists()
    # What a group had claimed and not begun was given back: that is a claim and no attempt.
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}


def fill(case: Case) -> None:
    """Have LOAD jobs waiting, short and not so short, on several queues."""
    missing = LOAD - Job.objects.filter(state=State.QUEUED).count()
    for number in range(missing):
        queue = QUEUES[number % len(QUEUES)]
        if number % 10 == 0:
            case.enqueue(tasks.nap, 0.05, queue_name=queue)
        else:
            case.enqueue(tasks.atomic if number % 3 else tasks.plain, queue_name=queue)


def busy_worker(case: Case) -> WorkerProcess:
    """A worker that is told to stop soon, in the middle of its work."""
    before = len(case.effects.of("end"))
    worker = case.worker("--processes", 2)
    case.may_end.add(worker.pid)
    wait_until(lambda: len(case.effects.of("end")) > before + 4, 30)
    return worker


def stranded(near: redis.Redis) -> set[str]:
    """The jobs that no worker runs and of which Redis knows nothing, or too much."""
    assert not Job.objects.filter(state=State.RUNNING).exists()
    queued = Job.objects.filter(state=State.QUEUED).values_list("pk", flat=True)
    waiting = {str(pk) for pk in queued}
    assert waiting, "The worker was idle when it was stopped."
    sent: list[Any] = [raw for name in QUEUES for raw in near.lrange(waiting_in(name), 0, -1)]
    return waiting ^ {raw.decode() for raw in sent}


@pytest.mark.parametrize(
    "stop",
    [to_group, pytest.param(to_supervisor, marks=pytest.mark.long)],
    ids=["group", "supervisor"],
)
def test_what_outlives_the_grace_is_at_once_with_another_worker_and_no_crash(
    case: Case, stop: Stop
) -> None:
    case.row("Deploys", "SIGTERM and a grace that is over before the job is")
    first = case.worker("--processes", 2, "--grace", 0.3)
    jobs = [case.enqueue(tasks.wait_at_gate) for _ in range(2)]
    for job in jobs:
        begun(case, job)
    case.worker("--processes", 2).wait_for("bgworker")
    case.may_end.add(first.pid)
    with case.recovers(within=REQUEUED):
        stop(first)
        wait_until(lambda: [case.effects.times("begin")[job.id] for job in jobs] == [2, 2])
    case.effects.open_gate()
    case.wait_final()
    assert first.wait(10) == 0
    assert not Attempt.objects.exists()
    assert set(Job.objects.values_list("state", "attempt", "claims")) == {("succeeded", 1, 2)}


def test_a_supervisor_that_kills_after_the_grace_finds_the_job_given_back(case: Case) -> None:
    case.row("Deploys", "SIGTERM, and SIGKILL to the whole worker once the grace is over")
    worker = case.worker("--grace", 0.3)
    job = case.enqueue(tasks.wait_at_gate)
    begun(case, job)
    case.may_end.add(worker.pid)
    with case.recovers(within=REQUEUED):
        to_group(worker)
        wait_until(lambda: case.job(job).state == "queued")
        case.kill(worker)
    assert (case.job(job).attempt, case.outcomes(job)) == (0, [])
    case.effects.open_gate()
    case.worker()
    case.wait_final()
    assert (case.job(job).attempt, case.job(job).claims) == (1, 2)


@pytest.mark.long
@pytest.mark.parametrize("task", [tasks.wait_at_gate, tasks.atomic], ids=["default", "atomic"])
def test_a_supervisor_that_kills_before_the_grace_is_over_costs_an_attempt_and_no_job(
    case: Case, task: Any
) -> None:
    case.row("Deploys", "SIGTERM, and SIGKILL to the whole worker before the grace is over")
    strike = Strike("in body", "nobody", hold=True)
    worker = case.worker(strike=strike if task is tasks.atomic else None)
    job = case.enqueue(task)
    begun(case, job)
    to_group(worker)
    worker.wait_for("Stopping")
    case.kill(worker)
    with case.recovers(within=RESCUED):
        case.effects.open_gate()
        case.worker()
        case.wait_final()
    assert (case.job(job).state, case.outcomes(job)) == ("succeeded", ["crash"])


CODE = """
from django_bgtasks import task
from tests.faults import tasks

@task(retry=tasks.AT_ONCE)
def {name}():
    return tasks.plain.func()
"""


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Two releases of a site's code: `new` has the task `added`, and `old` has not.

    A release is the environment of its workers; this process runs the new one.
    """
    names = {"old": ("common",), "new": ("common", "added")}
    for release, tasks_of_it in names.items():
        (tmp_path / release).mkdir()
        text = "".join(CODE.format(name=name) for name in tasks_of_it)
        (tmp_path / release / "shop_release.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "new")
    yield {release: {"PYTHONPATH": str(tmp_path / release)} for release in names}
    sys.modules.pop("shop_release", None)


@pytest.mark.long
def test_old_code_holds_the_job_of_a_task_it_lacks_and_new_code_runs_it(
    case: Case, releases: dict[str, Any]
) -> None:
    case.row("Deploys", "workers of old and new code side by side")
    import shop_release  # type: ignore[import-not-found]

    old = case.worker(env=releases["old"])
    added = [case.enqueue(shop_release.added) for _ in range(5)]
    wait_until(lambda: {case.job(job).state for job in added} == {"scheduled"}, 20)
    assert all("shop_release.added cannot be imported" in case.job(job).error for job in added)
    assert not case.effects.entries
    case.worker(env=releases["new"])
    old_jobs = [case.enqueue(shop_release.common) for _ in range(10)]
    # The old worker may take a job again and hold it again: an operator is patient.
    wait_until(lambda: not run_held(case), 40)
    case.wait_final()
    assert ran_once(case)
    assert old.returncode is None
    assert not Attempt.objects.exists()
    assert {case.job(job).attempt for job in added + old_jobs} == {1}


def run_held(case: Case) -> list[str]:
    """Let the held jobs be tried again now; the jobs that are not final."""
    for pk in Job.objects.filter(state=State.SCHEDULED).values_list("pk", flat=True):
        run_job_now(pk)
    return case.unfinished()


@pytest.mark.long
def test_a_job_that_old_code_held_runs_by_itself_once_the_old_worker_is_gone(
    case: Case, releases: dict[str, Any]
) -> None:
    case.row("Deploys", "a job held by old code, whose worker is then replaced")
    import shop_release

    old = case.worker(env=releases["old"])
    job = case.enqueue(shop_release.added)
    wait_until(lambda: case.job(job).state == "scheduled", 20)
    case.stop(old)
    case.worker(env=releases["new"])
    # It is tried again 30 s after it was held.
    with case.recovers(within=35):
        case.wait_final()
    assert (case.job(job).attempt, case.outcomes(job)) == (1, [])


@pytest.fixture
def migration(transactional_db: None) -> Iterator[Callable[[], None]]:
    """Apply what the next release brings: a column more. It is gone when all workers are."""
    table, name = Job._meta.db_table, "next_release"

    def apply() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN {name} varchar(20) NULL")

    yield apply
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, table)
        if name in [column.name for column in columns]:
            cursor.execute(f"ALTER TABLE {table} DROP COLUMN {name}")


def test_a_migration_while_jobs_are_claimed_and_settled_disturbs_none(
    migration: Callable[[], None], case: Case, no_traceback: None
) -> None:
    case.row("Deploys", "a column added to the table of jobs while jobs are in flight")
    workers = [case.worker("--processes", 2) for _ in range(2)]
    running = case.enqueue(tasks.wait_at_gate)
    begun(case, running)
    fill(case)
    wait_until(lambda: len(case.effects.of("end")) > 20, 20)
    fill(case)
    with case.recovers(within=REQUEUED):
        migration()
        ended = len(case.effects.of("end"))
        fill(case)
        wait_until(lambda: len(case.effects.of("end")) > ended + 20)
    case.effects.open_gate()
    # Old code goes on with the new table, and starts on it.
    case.stop(workers[0])
    case.worker()
    fill(case)
    case.wait_final()
    assert ran_once(case)
    assert not Attempt.objects.exists()


def in_a_container() -> Sequence[str]:
    """Process ids of its own, which begin with 1: those of a container, each time it starts."""
    return (shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child")


@pytest.mark.long
@pytest.mark.parametrize(
    "contained", [False, pytest.param(True, marks=needs_namespaces)], ids=["host", "container"]
)
def test_a_host_killed_and_started_at_once_settles_only_its_own_jobs(
    case: Case, contained: bool
) -> None:
    case.row(
        "Deploys", "SIGKILL of a worker that starts again with the same host name (and process ids)"
    )
    within = in_a_container() if contained else ()
    first = case.worker("--processes", 2, within=within)
    old = [case.enqueue(tasks.wait_at_gate) for _ in range(2)]
    for job in old:
        begun(case, job)
    with case.recovers(within=RESCUED):
        case.kill(first)
        case.worker("--processes", 2, within=within)
        new = [case.enqueue(tasks.wait_at_gate) for _ in range(2)]
        for job in new:
            begun(case, job)
        assert {case.job(job).state for job in old} == {"running"}
        wait_until(lambda: {case.job(job).state for job in old} == {"queued"}, 30)
    assert [(case.job(job).state, case.job(job).claims) for job in new] == [("running", 1)] * 2
    assert (pids(case, old) == pids(case, new)) == contained
    case.effects.open_gate()
    case.wait_final()
    assert [case.outcomes(job) for job in old + new] == [["crash"], ["crash"], [], []]
    assert [case.job(job).attempt for job in old + new] == [2, 2, 1, 1]


def pids(case: Case, jobs: Sequence[Any]) -> set[int]:
    """The ids of the processes in which these jobs began first, as these saw them."""
    return {case.effects.of("begin", job.id)[0].pid for job in jobs}
