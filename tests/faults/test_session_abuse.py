"""What a task leaves in its database session costs its neighbours nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from django.db import connection

from tests.app.models import Note
from tests.selection import DATABASE

from . import session_tasks as tasks
from .case import Case
from .unharmed import ended

pytestmark = pytest.mark.faults
long = pytest.mark.long
NEIGHBOURS = 10
numbers = count()
SHORT = {
    *("begins", "turns_autocommit_off", "turns_the_drivers_autocommit_off"),
    *("enters_the_drivers_transaction", "goes_to_an_empty_schema", "sets_a_role", "discards_all"),
    *("makes_the_session_read_only", "allows_only_queries", "goes_to_another_database"),
    *("leaves_a_query_half_read", "lets_no_statement_through"),
}


def kinds(of: dict[str, Any]) -> list[Any]:
    """Those of this database; the default run has the ones that matter most."""
    here = [name for name in of if DATABASE in tasks.VENDORS[name]]
    return [pytest.param(name, marks=[] if name in SHORT else [long]) for name in here]


OPEN, CHANGES = kinds(tasks.LEFT_OPEN), kinds(tasks.CHANGED)


@pytest.fixture
def nobody(transactional_db: None) -> Iterator[None]:
    """A role that may do nothing. Sessions beside this one may use it too: it stays."""
    if DATABASE != "postgres":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "DO $$ BEGIN CREATE ROLE bgtasks_nobody; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS tenant1, tenant2 CASCADE")


def neighbours_keep_their_rows(case: Case, jobs: list[Any]) -> None:
    """They succeeded at their first attempt, and what they wrote is there for all to see."""
    rows = [ended(case, job) for job in jobs]
    assert {(row.state, row.attempt, row.error) for row in rows} == {("succeeded", 1, "")}
    connection.close()
    texts = sorted(Note.objects.values_list("text", flat=True))
    assert texts == sorted(row.args[0] for row in rows)


def neighbours() -> list[tuple[str]]:
    return [(f"kept {next(numbers)}",) for _ in range(NEIGHBOURS)]


@pytest.mark.long(after=3)
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=long)])
@pytest.mark.parametrize("name", OPEN)
def test_a_transaction_that_a_task_leaves_open_fails_it_and_takes_no_neighbours_rows(
    case: Case, name: str, threads: int
) -> None:
    case.row("Isolation", f"Tasks that leave a transaction open, in {len(tasks.LEFT_OPEN)} ways")
    case.worker("--threads", threads)
    # Short ones first, so that the offender runs in a group with others.
    jobs = [*case.enqueue_many(tasks.writes, neighbours())]
    offender = case.enqueue(tasks.leaves, name)
    jobs += case.enqueue_many(tasks.writes_in_a_block, neighbours())
    failed = ended(case, offender)
    assert failed.error.startswith("RuntimeError: The task left a transaction open; ")
    assert (failed.state, failed.attempt, case.outcomes(offender)) == ("failed", 1, ["failed"])
    neighbours_keep_their_rows(case, jobs)


@pytest.mark.long(after=2)
@pytest.mark.parametrize("name", OPEN)
def test_an_exception_in_a_transaction_that_a_task_began_is_the_jobs_error(
    case: Case, name: str
) -> None:
    case.row(
        "Isolation",
        f"Tasks that raise in a transaction of their own, in {len(tasks.LEFT_OPEN)} ways",
    )
    case.worker()
    offender = case.enqueue(tasks.leaves_and_raises, name)
    jobs = [*case.enqueue_many(tasks.writes, neighbours())]
    failed = ended(case, offender)
    assert failed.error == "LookupError: no such customer"
    assert (failed.state, failed.attempt, case.outcomes(offender)) == ("failed", 1, ["failed"])
    neighbours_keep_their_rows(case, jobs)


@pytest.mark.long(after=3)
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=long)])
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.usefixtures("nobody")
def test_a_session_that_a_task_has_changed_is_not_its_neighbours(
    case: Case, name: str, threads: int
) -> None:
    case.row("Isolation", f"Tasks that change their session, in {len(tasks.CHANGED)} ways")
    case.worker("--threads", threads)
    jobs = [*case.enqueue_many(tasks.writes, neighbours())]
    offender = case.enqueue(tasks.sets, name)
    jobs += case.enqueue_many(tasks.writes_in_a_block, neighbours())
    done = ended(case, offender)
    assert (done.state, done.attempt, done.error) == ("succeeded", 1, "")
    neighbours_keep_their_rows(case, jobs)


@pytest.mark.long(after=2)
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.usefixtures("nobody")
def test_an_atomic_task_that_changes_its_session_ends_within_its_attempts_and_shows_why(
    case: Case, name: str
) -> None:
    case.row(
        "Isolation",
        f"Tasks with atomic=True that change their session, in {len(tasks.CHANGED)} ways",
    )
    case.worker()
    offender = case.enqueue(tasks.sets_atomically, name)
    jobs = [*case.enqueue_many(tasks.writes, neighbours())]
    done = ended(case, offender)
    assert 1 <= done.attempt <= done.max_attempts
    assert done.state == "succeeded" or done.error
    neighbours_keep_their_rows(case, jobs)


def test_a_hook_that_raises_after_the_commit_is_told_and_does_not_fail_the_job(case: Case) -> None:
    case.row("Isolation", "A function given to on_commit() raises, with atomic=True")
    worker = case.worker()
    job = case.enqueue(tasks.commits_then_fails)
    assert ended(case, job).state == "succeeded"
    worker.wait_for(f"job={job.id}")
    assert "ZeroDivisionError" in worker.output
    assert "rescued or cancelled" not in worker.output
    assert sorted(Note.objects.values_list("text", flat=True)) == ["row", "second hook"]


@pytest.mark.sqlite
@pytest.mark.postgres
@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
def test_an_atomic_task_that_ends_the_workers_transaction_fails_and_is_told_so(
    case: Case, statement: str
) -> None:
    case.row("Isolation", "COMMIT and ROLLBACK in a task with atomic=True")
    case.worker()
    job = case.enqueue(tasks.ends_its_transaction, statement)
    failed = ended(case, job)
    assert failed.error.startswith("RuntimeError: The task ended the transaction that it runs in")
    assert (failed.state, failed.attempt) == ("failed", 1)


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.parametrize(
    "task", [tasks.waits_half_a_minute_for_locks, tasks.waits_for_locks_after_the_commit]
)
def test_what_an_atomic_task_sets_in_its_session_is_not_its_neighbours(
    case: Case, task: Any
) -> None:
    case.row("Isolation", "Tasks with atomic=True that change what the ledger can live with")
    case.worker()
    before = case.enqueue(tasks.lock_limit)
    changes = case.enqueue(task)
    after = case.enqueue(tasks.lock_limit)
    assert ended(case, changes).state == "succeeded"
    assert ended(case, after).result == ended(case, before).result


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.postgres) for name in ("SET", "set_config")),
        pytest.param("later", marks=[pytest.mark.postgres, long]),
        pytest.param("variable", marks=pytest.mark.mysql),
    ],
)
def test_whose_rows_a_task_may_see_is_not_its_neighbours(case: Case, name: str) -> None:
    case.row("Isolation", "Tasks that set something of the site's in their session")
    case.worker()
    jobs = [case.enqueue(tasks.is_for_customer_7, name), case.enqueue(tasks.whose_rows_are_seen)]
    assert [ended(case, job).state for job in jobs] == ["succeeded"] * 2
    assert case.job(jobs[1]).result == ""


@pytest.mark.parametrize("name", tasks.EMPTY_HANDED)
def test_an_atomic_task_that_sends_no_statement_has_ended_no_transaction(
    case: Case, name: str
) -> None:
    case.row("Isolation", "Tasks with atomic=True that have a cursor, and send nothing")
    case.worker()
    job = case.enqueue(tasks.sends_nothing, name)
    assert (ended(case, job).state, ended(case, job).error) == ("succeeded", "")
