"""Two hosts: one loses its network, the other takes its jobs over, and it comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_bgtasks.models import Job, Worker
from testproject.servers import PostgresServer
from tests.app.models import Note
from tests.waiting import wait_until
from tests.workers import WorkerProcess

from . import host_tasks, tasks
from .case import Case
from .hosts import Host, needs_hosts, new_host, reachable_postgres, sweep, used_by_this_site
from .outage import AWAY, BACK, LATENCY, begun, latency, ran_once
from .strikes import Strike

pytestmark = [pytest.mark.faults, pytest.mark.postgres, *needs_hosts]

RESCUED = 15.0
# A cut-off maintenance hangs in a connection until its supervisor ends it, 30 s later at worst.
RETURNED = 45.0


@pytest.fixture
def hosts(transactional_db: None) -> Iterator[tuple[Host, Host]]:
    """Two hosts beside this one, which has the database, Redis and the site."""
    sweep()
    with new_host() as one, new_host() as other:
        yield one, other


@pytest.fixture
def real_postgres(hosts: tuple[Host, Host]) -> Iterator[PostgresServer]:
    """A PostgreSQL that the hosts reach by TCP, without a proxy that would stand for its clients.

    To be named before `case`, whose triggers belong into it.
    """
    with reachable_postgres(hosts) as server, used_by_this_site(server):
        yield server


def on(host: Host, case: Case, processes: int = 1, strike: Strike | None = None) -> WorkerProcess:
    """A worker on this host."""
    arguments: tuple[object, ...] = ("--processes", processes)
    worker = case.worker(*arguments, env=host.env, within=host.within, strike=strike)
    worker.wait_for("bgworker")
    return worker


def begun_twice(case: Case, jobs: list[Any]) -> bool:
    """Whether each of these jobs began once more, elsewhere."""
    return all(case.effects.times("begin")[job.id] == 2 for job in jobs)


def wait_returned(case: Case, worker: WorkerProcess, other: WorkerProcess) -> None:
    """Wait until the worker, whose host is back, goes on under a new id and runs jobs."""
    [called_dead] = Worker.objects.exclude(lost_at=None)
    worker.wait_for("it starts again with a new id", RETURNED)
    case.stop(other)
    job = case.enqueue(tasks.plain)
    wait_until(lambda: case.job(job).state == "succeeded", 20)
    [alive] = Worker.objects.filter(lost_at=None, stopped_at=None)
    assert case.job(job).worker == alive.pk != called_dead.pk


@pytest.mark.long
@pytest.mark.parametrize("finishing", [False, True], ids=["running", "finishing"])
def test_a_host_that_is_cut_off_loses_its_jobs_to_another_and_comes_back_as_a_new_worker(
    case: Case, hosts: tuple[Host, Host], finishing: bool
) -> None:
    """finishing: its jobs end in the first moments. Its kernel goes on trying to send their
    settlements, and brings them to the database long after others have settled these jobs."""
    case.row("Deploys", "one of two hosts is cut off from the network, and comes back")
    lost = on(hosts[0], case, processes=3)
    kinds = (tasks.wait_at_gate, host_tasks.atomic, host_tasks.atomic)
    jobs = [case.enqueue(kind) for kind in kinds]
    for job in jobs:
        begun(case, job)
    other = on(hosts[1], case, processes=3)
    left = hosts[0].sessions()
    with hosts[0].cut_off():
        if finishing:
            case.effects.open_gate()
        with case.recovers(within=RESCUED):
            wait_until(lambda: begun_twice(case, jobs), 40)
        case.effects.open_gate()
        case.wait_final()
        assert left <= hosts[0].sessions()
    wait_returned(case, lost, other)
    hosts[0].end_sessions(left)
    assert [case.job(job).claims for job in jobs] == [2, 2, 2]
    assert [case.outcomes(job) for job in jobs] == [["crash"]] * 3
    assert [case.effects.times("end")[job.id] for job in jobs] == [1 + finishing] * 3


@pytest.mark.long
def test_a_host_that_is_cut_off_for_a_moment_keeps_its_jobs(
    case: Case, hosts: tuple[Host, Host]
) -> None:
    case.row("Deploys", "one of two hosts is cut off from the network for 2 s")
    on(hosts[0], case, processes=2)
    jobs = [case.enqueue(kind) for kind in (tasks.wait_at_gate, host_tasks.atomic)]
    for job in jobs:
        begun(case, job)
    on(hosts[1], case, processes=2)
    with hosts[0].cut_off():
        case.effects.open_gate()
        time.sleep(2)
    with case.recovers(within=RESCUED):
        case.wait_final()
    assert ran_once(case)
    assert not Worker.objects.exclude(lost_at=None).exists()


@pytest.mark.long
@pytest.mark.parametrize("where", ["in-the-body", "at-the-commit"])
def test_a_lock_that_a_cut_off_host_left_holds_up_no_other_job(
    case: Case, hosts: tuple[Host, Host], where: str
) -> None:
    case.row("Deploys", "a host is cut off in a transaction that has locked its job's row")
    at_commit = where == "at-the-commit"
    strike = Strike("after move", "nobody", hold=True) if at_commit else None
    lost = on(hosts[0], case, processes=2, strike=strike)
    locked = case.enqueue(tasks.atomic if at_commit else host_tasks.reporting)
    wait_until(lambda: case.effects.of("struck" if at_commit else "begin"), 20)
    free = case.enqueue(tasks.nap, 60)
    begun(case, free)
    # Room for both of them again, and for one more.
    other = on(hosts[1], case, processes=3)
    left = hosts[0].sessions()
    with hosts[0].cut_off():
        if at_commit:
            case.effects.open_gate()
        with case.recovers(within=RESCUED):
            wait_until(lambda: begun_twice(case, [free]), 40)
        # The tasks after the rescue go on too: jobs that are due are queued.
        due = case.enqueue(tasks.plain, run_after=timezone.now() + timedelta(seconds=1))
        wait_until(lambda: case.job(due).state == "succeeded", 10)
        assert case.job(locked).state == "running"
    case.effects.open_gate()
    hosts[0].end_sessions(left)
    wait_until(lambda: case.job(locked).state == "succeeded", RETURNED)
    assert case.outcomes(locked) in ([], ["crash"])
    assert other.returncode is None
    lost.wait_for("it starts again with a new id", RETURNED)


def test_a_host_that_does_not_reach_redis_runs_its_jobs_from_the_database(
    case: Case, hosts: tuple[Host, Host]
) -> None:
    case.row("Deploys", "a host's packets to Redis alone are dropped, and then pass again")
    worker = on(hosts[0], case, processes=2)
    running = case.enqueue(tasks.wait_at_gate)
    begun(case, running)
    hosts[0].redis.pull()
    first = case.enqueue(tasks.plain)
    wait_until(lambda: case.job(first).state == "succeeded", 20)
    case.effects.open_gate()
    worker.wait_for(AWAY, 20)
    jobs = [case.enqueue(task) for task in (tasks.plain, tasks.atomic) * 5]
    case.wait_final()
    case.recovered(max(latency(case, job) for job in jobs), within=LATENCY)
    hosts[0].redis.plug()
    worker.wait_for(BACK, 20)
    case.enqueue(tasks.plain)
    case.wait_final()
    assert ran_once(case)
    assert not Worker.objects.exclude(lost_at=None).exists()
    assert set(Job.objects.values_list("claims", flat=True)) == {1}


# By these PostgreSQL and its clients notice within seconds that the other one is gone.
LIVELY = {
    "connect_timeout": 3,
    "tcp_user_timeout": 9000,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=2"
    " -c tcp_user_timeout=9000 -c client_connection_check_interval=3000",
}


@pytest.mark.long
def test_with_keepalives_the_locks_of_a_cut_off_host_are_gone_before_its_jobs_are_rescued(
    hosts: tuple[Host, Host], real_postgres: PostgresServer, case: Case
) -> None:
    case.row("Deploys", "a host is cut off with locks in its hands, and PostgreSQL has keepalives")
    for host in hosts:
        host.env["BGTASKS_TEST_DB_OPTIONS"] = json.dumps(LIVELY)
    Note.objects.create(text=host_tasks.SHARED)
    lost = on(hosts[0], case, processes=2)
    jobs = [case.enqueue(task) for task in (host_tasks.reporting, host_tasks.locking)]
    wait_until(lambda: len(case.effects.of("locked")) == 2, 20)
    other = on(hosts[1], case, processes=2)
    with hosts[0].cut_off():
        with case.recovers(within=RESCUED):
            wait_until(lambda: len(case.effects.of("locked")) == 4, 60)
        case.effects.open_gate()
        case.wait_final()
    wait_returned(case, lost, other)
    assert [case.outcomes(job) for job in jobs] == [["crash"], ["crash"]]
