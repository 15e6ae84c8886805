"""What a coroutine does to its database session and to the event loop is not its neighbours'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_bgtasks.models import Job
from tests.app.models import Note
from tests.waiting import wait_until

from . import coroutine_tasks as tasks
from .case import Case
from .databases import OTHERS, with_options
from .test_session_abuse import CHANGES, OPEN, nobody
from .unharmed import ended, keeps_its_limits

pytestmark = pytest.mark.faults
long = pytest.mark.long
__all__ = ["nobody"]
SLEEPS = "state = 'active' AND query LIKE '%pg_sleep%'"
one_after_another = pytest.param(("--async-concurrency", 1), id="inline", marks=long)


def notes() -> list[str]:
    return sorted(Note.objects.values_list("text", flat=True))


def open_gate(case: Case) -> None:
    Path(f"{case.effects.path}.gate").touch()


def begun(case: Case, *jobs: Any) -> None:
    wait_until(lambda: all(case.effects.of("begin", job.id) for job in jobs), 20)


def queries_for_long() -> bool:
    """Whether the query of that task runs."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {OTHERS} AND {SLEEPS}")
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("commits", [False, pytest.param(True, marks=long)])
def test_a_transaction_that_is_open_across_an_await_is_its_coroutines_own(
    case: Case, commits: bool
) -> None:
    case.row("Isolation", "A coroutine that holds a transaction open while others write")
    case.worker()
    transfer = case.enqueue(tasks.transfers, commits)
    begun(case, transfer)
    if connection.vendor == "sqlite":
        # It has the lock for writes: the others wait.
        open_gate(case)
    others = [case.enqueue(tasks.signs_up, f"customer {number}") for number in range(10)]
    for job in others:
        assert ended(case, job).state == "succeeded"
    open_gate(case)
    error = "" if commits else "ValueError: declined"
    assert ended(case, transfer).error == error
    assert notes() == [f"customer {number}" for number in range(10)] + ["transfer"] * commits


@pytest.mark.parametrize("options", [(), one_after_another])
def test_a_coroutine_that_leaves_a_transaction_open_fails_and_its_neighbours_rows_stay(
    case: Case, options: tuple[object, ...]
) -> None:
    case.row("Isolation", "Coroutines that leave a transaction open", times=len(tasks.LEFT))
    worker = case.worker(*options)
    before = case.enqueue(tasks.signs_up_at_gate, "customer") if not options else None
    if before is not None:
        begun(case, before)
    jobs = {way: case.enqueue(tasks.leaves_open, way) for way in tasks.LEFT}
    writers = [case.enqueue(tasks.signs_up, f"writer {number}") for number in range(20)]
    for job in writers:
        assert ended(case, job).state == "succeeded"
    errors = {way: ended(case, job).error for way, job in jobs.items()}
    assert errors.pop("begin_and_raise") == "LookupError: no such customer"
    assert {error[:47] for error in errors.values()} == {
        "RuntimeError: The task left a transaction open;"
    }
    assert {case.job(job).attempt for job in jobs.values()} == {1}
    open_gate(case)
    expected = {f"writer {number}" for number in range(20)}
    if before is not None:
        assert ended(case, before).state == "succeeded"
        expected |= {"customer before", "customer after"}
    assert notes() == sorted(expected)
    keeps_its_limits(case, worker)


@long
@pytest.mark.parametrize("sensitive", [True, False])
@pytest.mark.usefixtures("nobody")
def test_whatever_a_coroutine_does_to_a_session_is_not_its_neighbours(
    case: Case, sensitive: bool
) -> None:
    opened, changed = ([kind.values[0] for kind in kinds] for kinds in (OPEN, CHANGES))
    case.row(
        "Isolation", "Coroutines that do to a session what tasks do", times=len(opened + changed)
    )
    worker = case.worker("--async-connections", 3)
    jobs = {}
    writers = []
    for name in (*opened, *changed):
        jobs[name] = case.enqueue(tasks.calls, name, sensitive)
        writers += [case.enqueue(tasks.signs_up, f"{name} {number}") for number in range(3)]
        # One that locks a table must not be in the way of another.
        ended(case, jobs[name])
    rows = [ended(case, job) for job in writers]
    assert {(row.state, row.attempt, row.error) for row in rows} == {("succeeded", 1, "")}
    assert notes() == sorted(row.args[0] for row in rows)
    errors = {name: ended(case, jobs[name]).error[:46] for name in opened}
    assert set(errors.values()) == {"RuntimeError: The task left a transaction open"}
    assert case.stop(worker) == 0


@long
def test_what_a_coroutine_leaves_running_has_no_transaction_of_others(case: Case) -> None:
    case.row("Isolation", "A coroutine whose own tasks outlive it and use the database")
    worker = case.worker("--async-connections", 1)
    job = case.enqueue(tasks.goes_on_after_its_end, "late")
    assert ended(case, job).state == "succeeded"
    holding = case.enqueue(tasks.signs_up_at_gate, "customer")
    begun(case, holding)
    open_gate(case)
    assert ended(case, holding).state == "succeeded"
    wait_until(lambda: "late at last" in notes(), 20)
    assert notes() == [
        "customer after",
        "customer before",
        "late",
        "late at last",
        "late: The task left a transaction open; what it wrote"[:40],
    ]
    assert case.stop(worker) == 0


@long
def test_what_the_context_of_a_coroutine_asks_takes_no_connection_from_others(case: Case) -> None:
    case.row("Isolation", "Coroutines that tell their progress while others use the database")
    worker = case.worker("--async-connections", 1)
    jobs = [case.enqueue(tasks.tells_its_progress) for _ in range(5)]
    begun(case, *jobs)
    holding = case.enqueue(tasks.signs_up, "customer")
    assert ended(case, holding).state == "succeeded"
    open_gate(case)
    assert {ended(case, job).progress_done for job in jobs} == {2}
    assert case.stop(worker) == 0


@long
def test_what_a_coroutine_does_at_once_is_in_its_transaction(case: Case) -> None:
    case.row("Isolation", "Coroutines with tasks of their own, and with cursors that stay open")
    Note.objects.bulk_create([Note(text=f"row {number}") for number in range(9)])
    worker = case.worker()
    reading = case.enqueue(tasks.reads_in_pieces)
    begun(case, reading)
    gathering = [case.enqueue(tasks.gathers) for _ in range(5)]
    for job in gathering:
        result: Any = ended(case, job).result
        assert len(result) == 1
    open_gate(case)
    assert ended(case, reading).result == "9 rows"
    assert sum(text.startswith("piece") for text in notes()) == 15
    assert case.stop(worker) == 0


@long
@pytest.mark.postgres
def test_the_settings_of_a_session_are_its_coroutines_own(case: Case) -> None:
    case.row("Isolation", "A coroutine that changes its session")
    case.worker()
    switching = case.enqueue(tasks.switches_its_schema)
    begun(case, switching)
    for job in [case.enqueue(tasks.shows_its_schema) for _ in range(5)]:
        assert ended(case, job).result == '"$user", public'
    open_gate(case)
    assert ended(case, switching).result == ["pg_catalog", "pg_catalog"]


@pytest.mark.postgres
@long
@pytest.mark.parametrize(
    ("options", "env", "most"),
    [
        (("--async-connections", 3), {}, 3),
        ((), with_options(pool={"min_size": 1, "max_size": 5}), 5),
        ((), with_options(pool={"min_size": 1, "max_size": 1}), 1),
    ],
    ids=["option", "pool", "pool of one"],
)
def test_coroutines_wait_for_each_other_where_there_are_few_connections(
    case: Case, options: tuple[object, ...], env: dict[str, str], most: int
) -> None:
    case.row("Isolation", "More coroutines that use the database than connections for them")
    worker = case.worker(*options, env=env)
    jobs = [case.enqueue(tasks.names_its_session, 0.05) for _ in range(20)]
    case.wait_final()
    sessions = {case.job(job).result for job in jobs}
    assert {case.job(job).state for job in jobs} == {"succeeded"}
    assert len(sessions) <= most
    assert case.stop(worker) == 0


@pytest.mark.parametrize(
    "name",
    ["spins", pytest.param("queries_for_long", marks=[pytest.mark.postgres, long])],
)
def test_a_thread_that_is_busy_when_its_coroutine_ends_is_nobodys(case: Case, name: str) -> None:
    case.row("Isolation", "A coroutine that runs out of time in the middle of a query")
    worker = case.worker("--async-connections", 1)
    late = case.enqueue(tasks.is_busy_in_its_thread, name, timeout=0.5)
    assert ended(case, late, 5).error.startswith("JobTimeout: ")
    assert (name == "spins") is not queries_for_long()
    writer = case.enqueue(tasks.signs_up, "customer")
    assert ended(case, writer).state == "succeeded"
    # It had to wait for the query, and did not share its thread.
    assert not queries_for_long()
    assert notes() == ["customer"]
    assert "Killing job process" not in worker.output
    assert case.stop(worker) == 0


def test_what_a_coroutine_does_to_the_loop_does_not_end_its_neighbours(case: Case) -> None:
    case.row("Isolation", "Coroutines that stop or change the event loop", times=len(tasks.DONE))
    worker = case.worker()
    waiting = [case.enqueue(tasks.waits_at_gate) for _ in range(5)]
    begun(case, *waiting)
    errors = {
        name: ended(case, case.enqueue(tasks.does_to_the_loop, name)).error for name in tasks.DONE
    }
    assert "Killing job process" not in worker.output
    late = case.enqueue(tasks.waits_at_gate, timeout=0.5)
    assert ended(case, late).error.startswith("JobTimeout: ")
    open_gate(case)
    assert {ended(case, job).result for job in waiting} == {"through"}
    assert {case.job(job).attempt for job in waiting} == {1}
    refused = {name for name, error in errors.items() if error.startswith("RuntimeError: ")}
    assert refused == {"stops_it", "closes_it", "shuts_its_threads_down", "runs_another_loop"}
    assert errors["exits_in_a_task_of_its_own"] == "SystemExit: 3"
    assert errors["exits_in_its_thread"] == "SystemExit: 4"
    assert errors["is_interrupted_in_a_task_of_its_own"] == "KeyboardInterrupt"
    assert len({begin.pid for begin in case.effects.of("begin")}) == 1
    keeps_its_limits(case, worker)


def test_a_loop_that_cannot_go_on_ends_its_process_at_once(case: Case) -> None:
    case.row("Isolation", "A coroutine that breaks the event loop for good")
    worker = case.worker()
    waiting = case.enqueue(tasks.waits_at_gate)
    begun(case, waiting)
    breaking = case.enqueue(tasks.breaks_the_loop)
    worker.wait_for("The event loop of the coroutines cannot go on.")
    open_gate(case)
    assert ended(case, waiting).state == "succeeded"
    # One crash beside each other, then each by itself.
    assert case.job(waiting).attempt == 2
    assert ended(case, breaking, 60).state in {"failed", "succeeded"}
    assert not Job.objects.filter(state="running").exists()
