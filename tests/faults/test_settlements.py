"""What ends after the task and before its settlement is charged, and shows why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from django_bgtasks.models import Job

from . import session_tasks as tasks
from .case import Case
from .strikes import Strike
from .unharmed import ended

pytestmark = pytest.mark.faults
JOBS = Job._meta.db_table
WHEN = "NEW.state = 'succeeded' AND NEW.task LIKE '%.refused'"
TRIGGERS = {
    "sqlite": f"""
CREATE TRIGGER refuse BEFORE UPDATE OF state ON {JOBS} WHEN {WHEN}
BEGIN SELECT RAISE(ABORT, 'not today'); END
""",
    "postgresql": f"""
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE OF state ON {JOBS} FOR EACH ROW
WHEN ({WHEN}) EXECUTE FUNCTION refuse()
""",
    "mysql": f"""
CREATE TRIGGER refuse BEFORE UPDATE ON {JOBS} FOR EACH ROW
BEGIN IF {WHEN} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not today'; END IF; END
""",
}
BESIDE = [
    pytest.param((), tasks.dies_before_its_settlement, id="alone"),
    pytest.param(("--threads", 2), tasks.dies_before_its_settlement, id="threads"),
    pytest.param((), tasks.dies_before_its_settlement_async, id="coroutine"),
]


@contextmanager
def refusing() -> Iterator[None]:
    """A trigger of the site's refuses the settlements of `refused`."""
    with connection.cursor() as cursor:
        cursor.execute(TRIGGERS[connection.vendor])
    try:
        yield
    finally:
        end = "FUNCTION refuse CASCADE" if connection.vendor == "postgresql" else "TRIGGER refuse"
        with connection.cursor() as cursor:
            cursor.execute(f"DROP {end}")


@pytest.mark.long(after=1)
@pytest.mark.parametrize(("arguments", "task"), BESIDE)
def test_a_run_that_ends_with_its_process_before_it_is_settled_is_charged_each_time(
    case: Case, arguments: tuple[Any, ...], task: Any
) -> None:
    case.row("Isolation", "A process dies each time between the end of a run and its settlement")
    case.worker(*arguments)
    # Short ones, so that they are in a group with it.
    jobs = [*case.enqueue_many(tasks.writes, [(f"kept {number}",) for number in range(20)])]
    poison = case.enqueue(task)
    jobs += case.enqueue_many(tasks.writes, [(f"kept after {number}",) for number in range(20)])
    failed = ended(case, poison)
    assert (failed.state, failed.attempt) == ("failed", 3)
    assert case.outcomes(poison) == ["crash"] * 3
    assert failed.error == "crash: The process exited with code 9."
    for job in jobs:
        done = ended(case, job)
        assert (done.state, done.attempt - 1) == ("succeeded", len(case.outcomes(job)))
        assert done.attempt <= 2


@pytest.mark.parametrize("arguments", [(), ("--threads", 2), ("--group-size", 1)], ids=str)
def test_a_success_that_the_database_refuses_is_a_failure_that_tells_why(
    case: Case, arguments: tuple[Any, ...]
) -> None:
    case.row("Isolation", "A trigger refuses the settlement of a success")
    with refusing():
        case.worker(*arguments)
        jobs = [*case.enqueue_many(tasks.writes, [(f"kept {number}",) for number in range(20)])]
        offender = case.enqueue(tasks.refused)
        jobs += case.enqueue_many(tasks.writes, [(f"kept after {n}",) for n in range(20)])
        failed = ended(case, offender)
        assert "not today" in failed.error
        assert (failed.state, failed.attempt, case.outcomes(offender)) == ("failed", 1, ["failed"])
        for job in jobs:
            done = ended(case, job)
            assert (done.state, done.attempt) == ("succeeded", 1)


@pytest.mark.long(after=1)
@pytest.mark.parametrize(
    ("arguments", "task", "error"),
    [
        pytest.param((), tasks.short_and_last, "", id="alone"),
        pytest.param(("--threads", 2), tasks.short_and_last, "", id="threads"),
        pytest.param((), tasks.short_and_last_async, "", id="coroutine"),
        pytest.param((), tasks.short_and_raises, "LookupError: no such customer", id="raises"),
    ],
)
def test_a_task_that_was_in_time_is_not_killed_for_the_time_of_its_settlement(
    case: Case, arguments: tuple[Any, ...], task: Any, error: str
) -> None:
    case.row(
        "Isolation", "A settlement that takes longer than the job's timeout, in its last attempt"
    )
    options = {"BGTASKS_TEST_OPTIONS": json.dumps({"kill_after": 0.5})}
    worker = case.worker(
        *arguments, env=options, strike=Strike("before settle", "nobody", hold=True)
    )
    job = case.enqueue(task)
    case.struck_at()
    killed_at = case.now() + 2.0
    case.wait_until(lambda: case.now() > killed_at or "Killing" in worker.output)
    case.effects.open_gate()
    done = ended(case, job)
    assert (done.state, done.error) == ("failed" if error else "succeeded", error)
    assert "Killing" not in worker.output
