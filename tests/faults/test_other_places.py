"""What public reports of other systems tell of: it is no abuse, and does not go wrong here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from django.db import connection

from tests.app.models import Note
from tests.selection import DATABASE
from tests.waiting import wait_until

from . import elsewhere_tasks as elsewhere
from . import tasks
from .case import SOON, Case
from .unharmed import ended, runs_the_next

pytestmark = pytest.mark.faults
long = pytest.mark.long

# Much sooner than a site would have it.
IDLE_ENDS = {
    "postgres": {"options": "-c idle_session_timeout=700"},
    "mysql": {"init_command": "SET SESSION wait_timeout = 1"},
}
ASKING = (
    elsewhere.asks,
    elsewhere.asks_async,
    elsewhere.asks_in_any_thread,
    elsewhere.asks_not_sensitive,
    elsewhere.asks_in_a_pool,
)


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=long)])
def test_programs_and_processes_that_a_task_starts_can_be_ended(case: Case, threads: int) -> None:
    case.row("Isolation", "A task ends a program or a process that it has started", times=5)
    worker = case.worker("--threads", threads)
    calls: list[tuple[Any, ...]] = [(elsewhere.ends_a_program,), (elsewhere.ends_a_program_async,)]
    calls += [(elsewhere.ends_a_process, name) for name in ("fork", "spawn", "forkserver")]
    # One after another: in two threads at once, multiprocessing takes each other's exit codes.
    for call in calls:
        assert ended(case, case.enqueue(*call)).result == [-15]
    runs_the_next(case, worker)


@long
def test_programs_may_write_where_the_worker_does(case: Case) -> None:
    case.row("Isolation", "A task gives its output to a program")
    worker = case.worker()
    assert ended(case, case.enqueue(elsewhere.lends_its_output)).result == [1, 2]
    worker.wait_for("from a program")


def test_what_a_coroutine_raises_is_its_error_whatever_the_loop_means_by_it(case: Case) -> None:
    raising = (elsewhere.raises, elsewhere.raises_in_its_thread, elsewhere.raises_in_any_thread)
    case.row(
        "Isolation", "Coroutines that raise what asyncio uses", times=3 * len(elsewhere.ERRORS)
    )
    worker = case.worker()
    for task in raising:
        jobs = {name: case.enqueue(task, name, timeout=8) for name in elsewhere.ERRORS}
        assert {name: ended(case, job).error for name, job in jobs.items()} == {
            name: name for name in jobs
        }
    late = case.enqueue(elsewhere.tidies_up, timeout=0.5)
    assert ended(case, late).error.startswith("JobTimeout: ")
    assert Note.objects.filter(text="tidy").count() == 1
    runs_the_next(case, worker)
    assert "Killing job process" not in worker.output


@pytest.mark.long(after=1)
@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.parametrize("threads", [1, 2])
def test_no_job_fails_because_the_server_has_ended_an_idle_session(
    case: Case, threads: int
) -> None:
    case.row("Isolation", "The server ends the idle sessions of a worker", times=2 * len(ASKING))
    env = {"BGTASKS_TEST_DB_OPTIONS": json.dumps(IDLE_ENDS[DATABASE])}
    case.worker("--threads", threads, env=env)
    for _ in range(3):
        jobs = [case.enqueue(task) for task in ASKING]
        rows = [ended(case, job) for job in jobs]
        assert {(row.state, row.attempt, row.error) for row in rows} == {("succeeded", 1, "")}
        # All of them are idle for longer than the server allows.
        start = case.now()
        wait_until(lambda start=start: case.now() - start > 2.0, 5)  # type: ignore[misc]


@pytest.mark.postgres
@pytest.mark.mysql
def test_threads_of_tasks_take_their_sessions_along_when_they_end(case: Case) -> None:
    case.row("Isolation", "Tasks whose own threads use the database", times=30)
    case.worker()
    seen = []
    for _ in range(3):
        for job in [case.enqueue(elsewhere.asks_in_a_pool) for _ in range(10)]:
            assert ended(case, job).state == "succeeded"
        seen.append(sessions())

    # Of 80 more threads: the pool that was the last has four, and the worker may have begun some.
    # A server process needs a moment to end, and a session that Python collects needs more jobs.
    def few() -> bool:
        ended(case, case.enqueue(elsewhere.asks_in_a_pool))
        return sessions() - seen[0] <= 10

    case.wait_until(few)


def sessions() -> int:
    of = {
        "postgres": "pg_stat_activity WHERE datname = current_database()",
        "mysql": "information_schema.processlist WHERE db = DATABASE()",
    }
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {of[DATABASE]}")
        return int(cursor.fetchone()[0])


@long
@pytest.mark.skipif(not psutil.LINUX, reason="needs /proc")
def test_coroutines_leave_no_descriptors_behind(case: Case) -> None:
    case.row("Isolation", "Descriptors after 100 coroutines")
    case.worker()
    counts = []
    for _ in range(5):
        jobs = [case.enqueue(elsewhere.counts_descriptors) for _ in range(20)]
        counts.append(int(str([ended(case, job).result for job in jobs][-1])))
    assert counts[-1] - counts[1] <= 2, counts


def test_a_retry_gets_the_arguments_that_were_enqueued(case: Case) -> None:
    case.row("Isolation", "A task that changes its arguments and fails")
    case.worker()
    row = ended(case, case.enqueue(elsewhere.changes_its_arguments, [1], {"a": 1}))
    assert (row.state, row.attempt, row.args) == ("succeeded", 2, [[1], {"a": 1}])
    assert row.result == [[1], {"a": 1}]


@long
def test_redis_may_hang_up_on_who_is_idle_and_its_timeout_may_be_short(
    case: Case, redis_client: redis.Redis
) -> None:
    case.row(
        "Isolation", "Redis with a timeout of 1 s for idle clients, and clients with one of 0.3 s"
    )
    short = {"SOCKET_TIMEOUT": 0.3, "SOCKET_CONNECT_TIMEOUT": 0.3}
    redis_client.config_set("timeout", 1)
    try:
        worker = case.worker(env={"BGTASKS_TEST_CACHE_OPTIONS": json.dumps(short)})
        for _ in range(3):
            assert ended(case, case.enqueue(tasks.plain)).state == "succeeded"
            start = case.now()
            wait_until(lambda start=start: case.now() - start > 2.5, 5)  # type: ignore[misc]
    finally:
        redis_client.config_set("timeout", 0)
    assert not {"ERROR", "WARNING", "Traceback"}.intersection(worker.output.split())


@long
def test_a_worker_goes_on_when_its_machine_has_slept(case: Case) -> None:
    case.row(
        "Isolation",
        "A machine sleeps for longer than a worker may be silent, and wakes up",
        times=2,
    )
    worker = case.worker(env=SOON)
    assert ended(case, case.enqueue(tasks.plain)).state == "succeeded"
    for _ in range(2):
        waiting = case.enqueue(tasks.plain)
        asleep = worker.family()
        for process in asleep:
            process.suspend()
        start = case.now()
        wait_until(lambda start=start: case.now() - start > 6.0, 10)  # type: ignore[misc]
        for process in asleep:
            process.resume()
        runs_the_next(case, worker, 5.0)
        assert ended(case, waiting).state == "succeeded"
    assert case.stop(worker) == 0


REPLICA = """
from tests.settings import *

DATABASES["replica"] = {{"ENGINE": "django.db.backends.sqlite3", "NAME": {path!r}}}
DATABASE_ROUTERS = ["replica_settings.Router"]


class Router:
    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"
"""


@long
def test_a_worker_asks_no_replica_which_may_know_nothing_yet(case: Case, tmp_path: Path) -> None:
    case.row("Isolation", "A router that sends all reads to an empty database")
    settings = REPLICA.format(path=str(tmp_path / "empty.sqlite3"))
    (tmp_path / "replica_settings.py").write_text(settings)
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "replica_settings"}
    worker = case.worker("--no-reload", env=env)
    assert ended(case, case.enqueue(tasks.plain)).state == "succeeded"
    assert ended(case, case.enqueue(tasks.paying)).state == "succeeded"
    assert case.stop(worker) == 0
    assert "no such table" not in worker.output
