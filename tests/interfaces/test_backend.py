"""The backend, as Django's documentation of the tasks API describes one."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from pytest_django import Settings

from django_bgtasks import TaskNotFound, task
from django_bgtasks.backend import RQBackend
from django_bgtasks.core import clock
from django_bgtasks.core.compat import (
    InvalidTask,
    InvalidTaskBackend,
    TaskContext,
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    task_backends,
)
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.app.tasks import add, attempt_number, fail

from . import tasks

pytestmark = pytest.mark.django_db
TASKS: list[Any] = [
    tasks.by_django,
    tasks.by_the_backport,
    tasks.by_bgtasks,
    tasks.by_bgtasks_async,
]
each_task = pytest.mark.parametrize("made", TASKS, ids=lambda made: made.name)
with_options = pytest.mark.parametrize(
    "made", [tasks.by_django_with_options, tasks.by_the_backport_with_options]
)


class Holder:
    """Its method has no path from which a worker could import it."""

    @staticmethod
    def method() -> None:
        pass


def backend() -> Any:
    return task_backends["default"]


def test_the_backend_supports_all_that_a_backend_can() -> None:
    assert isinstance(backend(), RQBackend)
    assert backend().supports_defer
    assert backend().supports_async_task
    assert backend().supports_get_result
    assert backend().supports_priority


@each_task
def test_an_enqueued_task_is_ready_and_has_not_started(made: Any) -> None:
    result = made.enqueue(1, b=3)
    assert result.status == TaskResultStatus.READY
    assert not result.is_finished
    assert (result.args, result.kwargs, result.task) == ([1], {"b": 3}, made)
    assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
    assert (result.attempts, result.errors, result.worker_ids) == (0, [], [])
    assert result.enqueued_at.utcoffset() == timedelta(0)
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value


@each_task
def test_a_task_that_has_run_tells_what_it_returned_and_when(made: Any) -> None:
    result = made.enqueue(1, b=3)
    run_jobs()
    result.refresh()
    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.is_finished
    assert (result.return_value, result.attempts, result.errors) == (4, 1, [])
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at == result.started_at
    assert [str(UUID(worker)) for worker in result.worker_ids] == result.worker_ids


@each_task
def test_a_task_is_enqueued_and_read_from_coroutines(made: Any) -> None:
    result = async_to_sync(made.aenqueue)(1)
    run_jobs()
    async_to_sync(result.arefresh)()
    assert result.return_value == 3
    assert async_to_sync(made.aget_result)(result.id) == result
    assert async_to_sync(backend().aget_result)(result.id) == result


@with_options
def test_the_options_of_the_decorators_hold(made: Any) -> None:
    result = made.enqueue()
    assert (result.job.queue, result.job.priority) == ("emails", 7)
    run_jobs()
    result.refresh()
    assert result.return_value == [1, result.id]


def test_a_failed_task_tells_its_exception_and_its_traceback() -> None:
    result = tasks.raises.enqueue("no")
    run_jobs()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.is_finished
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    [error] = result.errors
    assert error.exception_class is ValueError
    assert error.traceback.startswith("Traceback")
    assert "raise ValueError(ValueError(message))" in error.traceback
    assert error.traceback.endswith("ValueError: no\n")


def test_a_context_is_one_of_the_api() -> None:
    assert issubclass(_context_class(), TaskContext)
    result = attempt_number.enqueue()
    run_jobs()
    result.refresh()
    assert result.return_value == 1


def test_a_result_can_be_found_by_its_id() -> None:
    result = add.enqueue(1, 2)
    assert backend().get_result(result.id) == result
    assert add.get_result(result.id) == result


@pytest.mark.parametrize("result_id", ["123", "", str(UUID(int=7)), 123, None])
def test_a_result_that_is_not_there_is_said_not_to_be(result_id: Any) -> None:
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(result_id)
    with pytest.raises(TaskResultDoesNotExist):
        async_to_sync(add.aget_result)(result_id)


def test_a_result_of_another_task_is_refused() -> None:
    result = fail.enqueue()
    with pytest.raises(TaskResultMismatch, match=r"received 'tests\.app\.tasks\.fail'"):
        add.get_result(result.id)
    with pytest.raises(TaskResultMismatch):
        async_to_sync(add.aget_result)(result.id)


def test_a_result_whose_task_is_gone_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    result = add.enqueue(1, 2)
    monkeypatch.setattr("tests.app.tasks.add", None)
    with pytest.raises(TaskNotFound, match=r"tests\.app\.tasks\.add is not a task"):
        backend().get_result(result.id)


def test_a_result_is_refreshed_while_its_task_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    result = add.enqueue(1, 2)
    monkeypatch.setattr("tests.app.tasks.add", None)
    result.refresh()
    assert result.status == TaskResultStatus.READY


def test_a_result_whose_job_was_deleted_says_so() -> None:
    result = add.enqueue(1, 2)
    result.job.delete()
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_a_result_refreshed_without_a_change_is_the_same() -> None:
    result = add.enqueue(1, 2)
    before = dataclasses.asdict(result)
    result.refresh()
    async_to_sync(result.arefresh)()
    assert dataclasses.asdict(result) == before


def test_a_result_can_be_waited_for() -> None:
    result = add.enqueue(1, 2)
    with pytest.raises(TimeoutError, match=rf"Job {result.id} is not final after 0\.01 s"):
        result.wait(timeout=0.01)
    run_jobs()
    assert result.wait(timeout=10) == 3
    assert async_to_sync(result.await_result)(10) == 3


def test_a_task_and_its_results_can_be_pickled() -> None:
    for made in (*TASKS, add.using(priority=7, queue_name="emails", timeout=3)):
        assert pickle.loads(pickle.dumps(made)) == made
    result = add.enqueue(1, 2)
    assert pickle.loads(pickle.dumps(result)) == result


def test_a_task_whose_key_is_a_lambda_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(tasks.with_a_lambda)) == tasks.with_a_lambda


@each_task
def test_using_makes_a_copy(made: Any) -> None:
    moment = clock.now()
    changed = made.using(priority=10, queue_name="emails").using(run_after=moment)
    assert (changed.priority, changed.queue_name, changed.run_after) == (10, "emails", moment)
    assert (made.priority, made.queue_name, made.run_after) == (0, "default", None)
    assert made.using() == made
    assert made.using() is not made


@each_task
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_after": datetime(2030, 1, 1)}, "run_after must be an aware datetime"),  # noqa: DTZ001
        ({"priority": -101}, "priority must be a whole number between -100 and 100"),
        ({"priority": 3.1}, "priority must be a whole number between -100 and 100"),
        ({"queue_name": "nope"}, "Queue 'nope' is not valid for backend"),
    ],
)
def test_what_could_not_run_is_refused(made: Any, change: Any, message: str) -> None:
    with pytest.raises(InvalidTask, match=message):
        made.using(**change)


@each_task
def test_a_backend_that_does_not_exist_is_refused(made: Any) -> None:
    with pytest.raises(InvalidTaskBackend, match="The connection 'unknown' doesn't exist"):
        made.using(backend="unknown")


def test_a_task_is_checked_again_when_it_is_enqueued(settings: Settings) -> None:
    letters = add.using(queue_name="emails")
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": ["default"]}}
    with pytest.raises(InvalidTask, match="Queue 'emails' is not valid for backend"):
        letters.enqueue(1, 2)
    with pytest.raises(InvalidTask, match="Queue 'emails' is not valid for backend"):
        async_to_sync(letters.aenqueue)(1, 2)


def test_without_queues_in_the_settings_every_name_is_valid(settings: Settings) -> None:
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    assert add.using(queue_name="anything").enqueue(1, 2).job.queue == "anything"


def test_without_the_backend_a_task_says_so(settings: Settings) -> None:
    settings.TASKS = {"other": settings.TASKS["default"]}
    with pytest.raises(InvalidTaskBackend):
        add.enqueue(1, 2)


@pytest.mark.parametrize("function", [any, lambda: None, Holder.method, Holder().method])
def test_what_is_no_function_of_a_module_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(InvalidTask, match="must be defined at a module level"):
        task(function)


@each_task
def test_arguments_that_are_not_json_are_a_type_error(made: Any) -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        made.enqueue(datetime.now())  # noqa: DTZ005
    with pytest.raises(TypeError, match="Unsupported type"):
        async_to_sync(made.aenqueue)(object())
    assert not Job.objects.exists()


def test_jobs_of_two_backends_are_kept_apart(settings: Settings) -> None:
    entry = settings.TASKS["default"]
    settings.TASKS = {"default": entry, "second": {**entry, "OPTIONS": {"timeout": 7}}}
    assert add.using(backend="second").enqueue(1, 2).job.timeout == 7
    assert add.enqueue(1, 2).job.timeout == 300


def _context_class() -> type:
    from django_bgtasks import JobContext

    return JobContext


def test_users_of_the_backport_catch_its_own_exceptions() -> None:
    from django_tasks import exceptions as backports

    names = vars(backports)
    with pytest.raises(names["TaskResultDoesNotExist"]):
        tasks.by_the_backport.get_result("123")
    with pytest.raises(names["InvalidTaskError"], match="'nowhere' is not valid"):
        tasks.by_the_backport.using(queue_name="nowhere")
    with pytest.raises(names["InvalidTaskError"], match="priority must be a whole number"):
        tasks.by_the_backport.using(priority=101)


def test_an_invalid_task_is_named_also_where_djangos_message_does_not() -> None:
    with pytest.raises(InvalidTask, match=r"tests\.app\.tasks\.add: priority must be a whole"):
        add.using(priority=500)
