"""The database is away for a while: restarted, crashed, full, read-only or locked."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from django_bgtasks.models import Worker
from testproject.servers import PostgresServer
from tests.workers import WorkerProcess

from . import database_tasks as tasks
from . import tasks as others
from .case import Case
from .databases import Hog, away, end_backends, private_postgres, to, with_options
from .strikes import Strike

pytestmark = pytest.mark.faults

BACK = 15.0


@pytest.fixture
def server(transactional_db: None) -> Iterator[PostgresServer]:
    """A PostgreSQL of this case's own. To be named before `case`, whose triggers belong into it."""
    with private_postgres() as own:
        yield own


@pytest.fixture
def small_server(transactional_db: None) -> Iterator[PostgresServer]:
    """One with few connections."""
    with private_postgres({"max_connections": "12"}) as own:
        yield own


def busy(case: Case, server: PostgresServer) -> tuple[WorkerProcess, list[Any]]:
    """A worker with a plain task and an atomic one in their middle, and others that wait."""
    strike = Strike("in body", "nobody", hold=True)
    worker = case.worker("--processes", 2, env=to(server.url), strike=strike)
    jobs = [case.enqueue(tasks.atomic)]
    case.struck_at()
    jobs.append(case.enqueue(others.wait_at_gate))
    case.wait_until(lambda: len(case.effects.of("begin")) == 2)
    jobs += [case.enqueue(task) for task in (tasks.plain, tasks.atomic)]
    later = timezone.now() + timedelta(seconds=1)
    return worker, [*jobs, case.enqueue(tasks.plain, run_after=later)]


def unharmed(case: Case, worker: WorkerProcess, jobs: list[Any]) -> None:
    """All succeeded without a crash, in the worker that was there all the time."""
    assert [case.job(job).state for job in jobs] == ["succeeded"] * len(jobs)
    assert not [job for job in jobs if "crash" in case.outcomes(job)]
    assert not Worker.objects.exclude(lost_at=None).exists()
    assert worker.returncode is None
    assert "Traceback" not in worker.output


@pytest.mark.postgres
@pytest.mark.parametrize("politely", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_restart_of_the_server_loses_no_job_and_ends_no_worker(
    server: PostgresServer, case: Case, politely: bool
) -> None:
    case.row(
        "Database", f"PostgreSQL is {'restarted' if politely else 'killed and started'} at work"
    )
    worker, jobs = busy(case, server)
    away(server, politely=politely)
    with case.recovers(within=BACK):
        case.effects.open_gate()
        case.wait_final()
    unharmed(case, worker, jobs)


@pytest.mark.postgres
@pytest.mark.parametrize("finishes", [pytest.param("before", marks=pytest.mark.long), "after"])
@pytest.mark.parametrize("seconds", [8.0, pytest.param(60.0, marks=pytest.mark.long)])
def test_an_outage_ends_no_worker_and_costs_no_job_an_attempt(
    server: PostgresServer, case: Case, seconds: float, finishes: str
) -> None:
    case.row("Database", f"PostgreSQL is away for {seconds:g} s, killed at work")
    worker, jobs = busy(case, server)
    if finishes == "before":
        case.effects.open_gate()
    away(server, seconds)
    with case.recovers(within=BACK):
        case.effects.open_gate()
        case.wait_final()
    unharmed(case, worker, jobs)


@pytest.mark.postgres
@pytest.mark.long
def test_after_an_outage_no_worker_calls_another_dead_that_only_could_not_beat(
    server: PostgresServer, case: Case
) -> None:
    case.row("Database", "PostgreSQL is away for 12 s, and three workers come back to it")
    workers = [case.worker(env=to(server.url)) for _ in range(3)]
    jobs = [case.enqueue(others.wait_at_gate) for _ in workers]
    case.wait_until(lambda: len(case.effects.of("begin")) == 3)
    away(server, 12.0)
    with case.recovers(within=BACK):
        case.effects.open_gate()
        case.wait_final()
    for worker in workers:
        unharmed(case, worker, jobs)


@pytest.mark.postgres
@pytest.mark.long
def test_a_worker_that_dies_in_an_outage_is_found_after_it(
    server: PostgresServer, case: Case
) -> None:
    case.row("Database", "a worker is killed while PostgreSQL is away for 8 s")
    killed = case.worker(env=to(server.url))
    job = case.enqueue(others.wait_at_gate)
    case.wait_until(lambda: case.effects.of("begin"))
    survivor = case.worker(env=to(server.url))
    case.wait_until(lambda: Worker.objects.count() == 2)
    server.kill()
    case.kill(killed)
    away(server, 8.0)
    with case.recovers(within=BACK):
        case.effects.open_gate()
        case.wait_final()
    assert case.outcomes(job) == ["crash"]
    assert survivor.returncode is None


@pytest.mark.postgres
@pytest.mark.long
def test_a_primary_that_becomes_a_standby_and_back_loses_no_job(
    server: PostgresServer, case: Case
) -> None:
    case.row("Database", "PostgreSQL takes no writes for 4 s, as a primary that became a standby")
    worker, jobs = busy(case, server)
    with connection.cursor() as cursor:
        cursor.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        end_backends()
        case.effects.open_gate()
        worker.wait_for("read-only transaction")
        time.sleep(4)
        cursor.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
    with case.recovers(within=BACK):
        case.wait_final()
    unharmed(case, worker, jobs)


@pytest.mark.postgres
@pytest.mark.long
def test_a_server_without_a_free_connection_is_waited_for(
    small_server: PostgresServer, case: Case
) -> None:
    case.row("Database", "PostgreSQL has no connection left (max_connections) for 4 s")
    worker, jobs = busy(case, small_server)
    with Hog(small_server):
        case.effects.open_gate()
        worker.wait_for("too many clients")
        time.sleep(4)
    with case.recovers(within=BACK):
        case.wait_final()
    unharmed(case, worker, jobs)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "early",
    [
        pytest.param(False, id="alone"),
        pytest.param(True, id="and-the-site-asks-at-its-start", marks=pytest.mark.long),
    ],
)
def test_a_pool_of_one_connection_is_enough_for_each_process(case: Case, early: bool) -> None:
    case.row("Database", "a connection pool that holds one connection per process")
    env = with_options(pool={"min_size": 1, "max_size": 1, "timeout": 2})
    if early:
        env["DJANGO_SETTINGS_MODULE"] = "tests.faults.early"
    worker = case.worker("--processes", 2, env=env)
    later = timezone.now() + timedelta(seconds=1)
    jobs = [case.enqueue(task) for task in (tasks.plain, tasks.atomic) * 5]
    jobs.append(case.enqueue(tasks.plain, run_after=later))
    with case.recovers(within=BACK):
        case.wait_final()
        # All tasks had their turn by now, and so had the heartbeat.
        worker_row = Worker.objects.get()
        case.wait_until(lambda: Worker.objects.get().last_seen_at > worker_row.last_seen_at)
    end_backends()
    jobs.append(case.enqueue(tasks.plain))
    case.wait_final()
    assert "couldn't get a connection" not in worker.output
    assert [case.job(job).state for job in jobs] == ["succeeded"] * len(jobs)


@contextlib.contextmanager
def file_locked() -> Iterator[None]:
    """Within it, somebody else writes to the database file."""
    with contextlib.closing(sqlite3.connect(str(connection.settings_dict["NAME"]))) as writer:
        writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            writer.rollback()


@pytest.mark.sqlite
@pytest.mark.parametrize("seconds", [1.0, pytest.param(10.0, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("point", "name"),
    [
        pytest.param("before claim", "plain", marks=pytest.mark.long),
        # A transaction begins with the lock of the file.
        ("after claim", "atomic"),
        pytest.param("before settle", "plain", marks=pytest.mark.long),
    ],
)
def test_a_database_file_that_stays_locked_loses_no_job(
    case: Case, point: str, name: str, seconds: float
) -> None:
    case.row(
        "Database", f"SQLite's file is locked for {seconds:g} s beyond the timeout, at 3 points"
    )
    env = with_options(timeout=0.2)
    worker = case.worker(strike=Strike(point, "nobody", hold=True), env=env)
    job = case.enqueue(tasks.plain if name == "plain" else tasks.atomic)
    case.struck_at()
    with file_locked():
        case.effects.open_gate()
        worker.wait_for("database is locked")
        time.sleep(seconds)
    with case.recovers(within=BACK):
        case.wait_final()
    assert case.job(job).state == "succeeded"
    assert "crash" not in case.outcomes(job)
    # After 10 s of silence it may be called dead, and goes on under another id.
    if seconds < 10:
        unharmed(case, worker, [job])
