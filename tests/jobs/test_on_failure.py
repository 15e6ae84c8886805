"""on_failure of a task: called when a job has failed for good, wherever that is found out."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pytest_django import Settings

from django_bgtasks import task
from django_bgtasks.core import clock
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.jobs.actions import cancel_job
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from django_bgtasks.worker.maintenance import rescue
from tests.app.models import Note
from tests.interfaces.rows import make_job
from tests.workers import WorkerFactory

from . import carried, failing

HEARD = failing.HEARD
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_middleware")]


@pytest.fixture(autouse=True)
def nothing_is_heard() -> None:
    """Yet."""
    HEARD.clear()


@pytest.mark.parametrize(
    "task",
    [failing.fail, failing.afail, failing.fail_atomically, failing.fail_twice],
    ids=lambda task: task.func.__name__,
)
def test_it_is_called_once_when_the_last_attempt_has_failed(task: Any) -> None:
    task.enqueue()
    run_jobs()
    assert HEARD == [("ValueError", "failed", "no", None)]


def test_what_it_is_told_has_no_sensitive_values() -> None:
    failing.fail_by_path.enqueue("123456")
    run_jobs()
    [(kind, state, message, _tenant)] = HEARD
    assert (kind, state) == ("ValueError", "failed")
    assert message.startswith("wrong: ")
    assert "123456" not in message


def test_each_way_to_fail_calls_it_and_no_other_end_does() -> None:
    failing.give_up.enqueue()
    failing.return_no_json.enqueue()
    cancel_job(failing.fail.enqueue().id)
    failing.succeed.enqueue()
    failing.come_later.enqueue()
    failing.be_cancelled.enqueue()
    run_jobs()
    assert [kind for kind, *_ in HEARD] == ["GiveUp", "TypeError"]


def test_a_rescue_that_fails_the_job_calls_it_and_one_that_retries_does_not() -> None:
    row = {"task": failing.fail.module_path, "worker": clock.new_id()}
    make_job("running", attempt=1, max_attempts=2, **row)
    assert rescue.rescue("default") == 1
    assert HEARD == []
    make_job("running", attempt=2, max_attempts=2, **row)
    assert rescue.rescue("default") == 1
    [(kind, state, message, _tenant)] = HEARD
    assert (kind, state) == ("crash", "failed")
    assert "worker" in message


def test_a_rescue_of_a_task_that_is_not_known_here_settles_it_all_the_same() -> None:
    make_job("running", attempt=3, worker=clock.new_id())
    assert rescue.rescue("default") == 1
    assert Job.objects.get().state == "failed"


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (failing.fail_and_raise, "nowhere"),
        (failing.fail_and_exit, "SystemExit"),
        (failing.fail_and_be_cancelled, "CancelledError"),
        (failing.fail_to_nowhere, "has no|does not define"),
    ],
    ids=["in the database", "exit", "cancelled", "no such path"],
)
def test_what_it_raises_is_logged_with_its_traceback_and_changes_nothing(
    caplog: pytest.LogCaptureFixture, task: Any, why: str
) -> None:
    """As in procrastinate 871 and arq 213: what is cancelled raises no mere Exception."""
    result = task.enqueue()
    with caplog.at_level(logging.ERROR, "django_bgtasks"):
        [job] = run_jobs()
    assert (job.state, job.error) == ("failed", "ValueError: no")
    [record] = [record for record in caplog.records if "on_failure" in record.msg]
    assert result.id in record.getMessage()
    assert record.exc_info
    assert any(word in repr(record.exc_info[1]) for word in why.split("|"))


@pytest.fixture
def tenants(settings: Settings) -> None:
    """Jobs carry their tenant."""
    options = {**settings.TASKS["default"]["OPTIONS"], "carry": [f"{carried.PATH}.tenant"]}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}


@pytest.mark.usefixtures("tenants")
def test_it_sees_the_context_of_the_job_after_a_rescue_too() -> None:
    with carried.use_tenant("a"):
        failing.fail.enqueue()
    run_jobs()
    row = {"task": failing.fail.module_path, "worker": clock.new_id(), "attempt": 3}
    make_job("running", carried='{"tenant": "b"}', **row)
    rescue.rescue("default")
    assert [tenant for *_, tenant in HEARD] == ["a", "b"]
    assert carried.current_tenant() is None


@pytest.mark.usefixtures("tenants")
def test_where_the_context_cannot_be_restored_it_is_not_called_in_another_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_job(task=failing.fail.module_path, carried='{"tenant": "gone"}', max_attempts=1)
    [job] = run_jobs()
    assert (job.state, HEARD) == ("failed", [])
    [record] = [record for record in caplog.records if "on_failure" in record.msg]
    assert "there is no such tenant" in repr(record.exc_info)


def test_what_it_leaves_in_context_variables_does_not_reach_the_next_job() -> None:
    failing.fail_and_leave.enqueue()
    carried.see.enqueue()
    [_failed, job] = run_jobs()
    assert job.result == [None, None, "en-us", "UTC"]
    assert carried.current_tenant() is None


@pytest.mark.parametrize(
    "wrong", [3, "hear", "tests.jobs.", failing.fail], ids=["number", "name", "no name", "task"]
)
def test_what_cannot_be_called_is_refused_where_the_task_is_defined(wrong: Any) -> None:
    with pytest.raises(InvalidTask, match="on_failure is a function of"):
        task(on_failure=wrong)(failing.hear)


def test_it_belongs_to_the_definition() -> None:
    with pytest.raises(TypeError, match="cannot change on_failure"):
        failing.fail.using(on_failure=None)


@pytest.mark.django_db(transaction=True)
def test_after_a_kill_whoever_settles_the_job_calls_it(bgworker: WorkerFactory) -> None:
    dead = failing.die.enqueue()
    assert bgworker("--burst").wait() == 0
    assert [note.text for note in Note.objects.all()] == [f"{dead.id} crash"]
