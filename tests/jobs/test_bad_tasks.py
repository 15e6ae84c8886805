"""Tasks that misbehave: each is settled, and the next one runs as if nothing had been."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.app.models import Note
from tests.app.tasks import add, write

from . import tasks

pytestmark = pytest.mark.django_db
with_commits = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("unprintable", "tests.jobs.tasks.Unprintable"),
        ("system exit", "builtins.SystemExit"),
        ("generator exit", "builtins.GeneratorExit"),
        ("cancelled", "asyncio.exceptions.CancelledError"),
        ("recursion", "builtins.RecursionError"),
    ],
)
def test_whatever_a_task_raises_the_job_is_settled_and_told_about(kind: str, path: str) -> None:
    result = tasks.raises.enqueue(kind)
    add.enqueue(1, 2)
    assert [job.state for job in run_jobs()] == ["failed", "succeeded"]
    result.refresh()
    [error] = result.errors
    assert error.exception_class_path == path
    assert "tests/jobs/tasks.py" in error.traceback


def test_a_recursive_chain_of_causes_ends() -> None:
    tasks.raises_in_circles.enqueue()
    assert [job.error for job in run_jobs()] == ["ValueError: first"]


def test_a_huge_traceback_keeps_its_head_and_its_tail() -> None:
    tasks.raises_a_library.enqueue()
    [job] = run_jobs()
    traceback = job.attempts.get().traceback
    assert len(traceback) <= 64 * 1024
    assert traceback.startswith("Traceback")
    assert "characters left out" in traceback


def test_a_task_without_a_bottom_fails() -> None:
    tasks.recurses.enqueue()
    [job] = run_jobs()
    assert job.error.startswith("RecursionError: maximum recursion depth exceeded")


@pytest.mark.parametrize("what", ["bytes", "large"])
def test_a_result_that_cannot_be_stored_fails_the_job_by_name(what: str) -> None:
    tasks.gives.enqueue(what)
    [job] = run_jobs()
    assert job.state == "failed"
    assert job.error.startswith("InvalidArguments: tests.jobs.tasks.gives: ")
    assert "the result" in job.error


@pytest.mark.parametrize("task", [tasks.gives, tasks.gives_in_its_transaction, tasks.gives_later])
@pytest.mark.parametrize("what", ["function", "nan", "key", "row", "within"])
def test_a_result_that_is_not_json_is_a_type_error_by_class(task: Any, what: str) -> None:
    result = task.enqueue(what)
    [job] = run_jobs()
    assert (job.state, job.result) == ("failed", None)
    assert job.error.startswith(f"TypeError: tests.jobs.tasks.{task.name}: ")
    result.refresh()
    [error] = result.errors
    assert error.exception_class is TypeError
    assert "the result" in error.traceback


def test_a_tuple_comes_back_as_a_list() -> None:
    tasks.gives.enqueue("tuple")
    assert [job.result for job in run_jobs()] == [[1, [2]]]


@with_commits
def test_a_task_that_leaves_autocommit_off_takes_nothing_with_it() -> None:
    tasks.leaves_autocommit_off.enqueue("lost")
    write.enqueue("kept")
    assert [job.state for job in run_jobs()] == ["failed", "succeeded"]
    assert [note.text for note in Note.objects.all()] == ["kept"]
    assert connection.get_autocommit()


@with_commits
@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("error", ["", "and raises"])
def test_a_task_that_leaves_a_transaction_open_fails_and_takes_nothing_with_it(
    atomic: bool, error: str
) -> None:
    if atomic:
        tasks.leaves_a_transaction_open_atomically.enqueue("lost", error)
    else:
        tasks.leaves_a_transaction_open.enqueue("lost", error)
    write.enqueue("kept")
    assert [job.state for job in run_jobs()] == ["failed", "succeeded"]
    connection.close()
    text = f"ValueError: {error}" if error else "RuntimeError: The task left a transaction open;"
    assert Job.objects.order_by("id")[0].error.startswith(text)
    assert [note.text for note in Note.objects.all()] == ["kept"]


@pytest.mark.postgres
@with_commits
def test_a_task_whose_connection_is_ended_is_settled_on_a_new_one() -> None:
    tasks.loses_its_connection.enqueue()
    write.enqueue("kept")
    assert [job.state for job in run_jobs()] == ["succeeded", "succeeded"]


def test_what_a_task_enqueues_runs_too() -> None:
    tasks.enqueues_another.enqueue("child")
    assert [job.task for job in run_jobs()] == [
        "tests.jobs.tasks.enqueues_another",
        "tests.jobs.tasks.note",
    ]


def test_a_renamed_task_is_held_and_seen_and_runs_after_the_fix(
    make_due: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = add.enqueue(1, 2)
    monkeypatch.setattr("tests.app.tasks.add", None)
    for _ in range(5):
        assert [job.state for job in run_jobs()] == ["scheduled"]
        make_due()  # type: ignore[operator]
    job = Job.objects.get(pk=result.id)
    assert (job.attempt, job.attempts.count()) == (0, 0)
    assert job.error == "tests.app.tasks.add is not a task: decorate the function with @task."
    monkeypatch.undo()
    assert [job.result for job in run_jobs()] == [3]
    assert Job.objects.get(pk=result.id).error == ""
