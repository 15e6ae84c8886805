"""Plain tasks of the tasks APIs: made under another backend, by hand, or by a copy of one."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import django
import django_tasks
import pytest
from asgiref.sync import async_to_sync
from django.dispatch import Signal
from django.test import override_settings
from django.utils.functional import SimpleLazyObject
from django_tasks import exceptions as backports
from django_tasks import signals as backport_signals
from django_tasks.base import Task as BackportTask
from pytest_django import Settings

from django_bgtasks import BackgroundTask, JobContext, JobResult, task
from django_bgtasks.backend import RQBackend
from django_bgtasks.core import clock
from django_bgtasks.core.compat import (
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskContext,
    TaskResult,
    TaskResultStatus,
    api,
    api_signals,
    task_backends,
)
from django_bgtasks.jobs.context import context_of
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.workers import WorkerFactory

from . import plain as plain_module
from . import tasks as tasks_module
from .rows import make_job

pytestmark = pytest.mark.django_db
plain: Any = plain_module
tasks: Any = tasks_module
DUMMY = {"BACKEND": f"{api.__name__}.backends.dummy.DummyBackend", "QUEUES": []}
NAMES = ["add", "add_later", "double", "by_the_backport", "triple"]
each_task = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def made_under_another_backend(settings: Settings) -> Iterator[None]:
    """The module is imported while the API's dummy is the default, then ours is."""
    with override_settings(TASKS={"default": DUMMY}):
        importlib.reload(plain)
    plain_ones = {type(getattr(plain, name)) for name in NAMES}
    assert plain_ones == {Task, BackportTask}
    yield
    importlib.reload(plain)


def backend(name: str) -> Any:
    return task_backends[name]


def value_of(result: Any) -> Any:
    run_jobs()
    result.refresh()
    return result.return_value


@each_task
def test_a_plain_task_is_enqueued_and_runs(name: str) -> None:
    made = getattr(plain, name)
    result = made.enqueue(2)
    assert result.task is made
    assert (result.status, result.backend) == (TaskResultStatus.READY, "default")
    assert value_of(result) == {"double": 4, "triple": 6}.get(name, 4)
    assert made.get_result(result.id) == result


@each_task
def test_the_options_of_a_plain_task_hold(name: str) -> None:
    moment = clock.now() + timedelta(hours=1)
    made = getattr(plain, name).using(queue_name="emails", priority=7, run_after=moment)
    result = async_to_sync(made.aenqueue)(2)
    job = result.job
    assert (job.queue, job.priority, job.run_after, job.state) == ("emails", 7, moment, "scheduled")
    assert made.get_result(result.id).task == made


def test_a_plain_task_gets_its_context() -> None:
    result = plain.who.enqueue()
    assert value_of(result) == [1, result.id]


def test_many_calls_of_a_plain_task_are_enqueued_at_once() -> None:
    results = backend("default").enqueue_many(plain.add, [(1,), (2,)])
    assert [value_of(result) for result in results] == [3, 4]
    assert {result.task for result in results} == {plain.add}


def test_a_copy_with_our_backend_runs(settings: Settings) -> None:
    settings.TASKS = {"default": settings.TASKS["default"], "dummy": DUMMY}
    dummy = dataclasses.replace(plain.add, backend="dummy")
    for made in (dummy.using(backend="default"), dataclasses.replace(dummy, backend="default")):
        assert type(made) is Task
        assert value_of(made.enqueue(1)) == 3


def test_a_task_goes_to_the_backend_that_is_asked(settings: Settings) -> None:
    entry = settings.TASKS["default"]
    settings.TASKS = {"default": entry, "second": {**entry, "OPTIONS": {"timeout": 7}}}
    for made in (plain.add, tasks.by_bgtasks):
        result = backend("second").enqueue(made, (1,), {})
        assert (result.backend, result.job.timeout, result.task) == ("second", 7, made)
        assert backend("second").get_result(result.id).task.backend == "second"


@pytest.mark.parametrize("api_signals", [api_signals, backport_signals])
def test_a_signal_about_a_plain_task_is_sent_by_our_backend(api_signals: Any) -> None:
    senders = []

    def note(sender: type, **kwargs: Any) -> None:
        senders.append(sender)

    signals: list[Signal] = [api_signals.task_started, api_signals.task_finished]
    for signal in signals:
        signal.connect(note)
    try:
        make_job("queued", task=plain.add.module_path, args=[1])
        run_jobs()
    finally:
        for signal in signals:
            signal.disconnect(note)
    assert senders == [RQBackend, RQBackend]


def test_a_plain_task_is_validated_when_it_is_enqueued(settings: Settings) -> None:
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    made = plain.add.using(queue_name="elsewhere")
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": ["default"]}}
    with pytest.raises(InvalidTask, match="Queue 'elsewhere' is not valid for backend"):
        made.enqueue(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"func": plain.no_task}, r"plain\.no_task: no worker could find this task by its path"),
        ({"func": plain.Holder.method}, "must be defined at a module level"),
        ({"func": plain.who.func, "takes_context": False}, "takes_context is True there"),
    ],
)
def test_a_plain_task_that_no_worker_could_call_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(InvalidTask, match=message):
        dataclasses.replace(plain.add, **changes).enqueue()
    assert not Job.objects.exists()


def test_a_task_of_ours_may_have_another_name_than_its_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plain, "another_name", task(plain.no_task), raising=False)
    assert value_of(plain.another_name.enqueue(5)) == 5


def test_of_two_tasks_around_a_function_none_is_taken_if_they_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain.urgent = plain.double.using(priority=50)
    assert value_of(plain.urgent.enqueue(2)) == 4
    monkeypatch.setattr(plain, "other", task(atomic=True)(plain.double.func), raising=False)
    with pytest.raises(InvalidTask, match="no worker could find"):
        plain.double.enqueue(2)


def test_what_is_lazy_in_a_module_is_not_asked_whether_it_is_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask() -> object:
        raise AssertionError("asked")

    lazy = SimpleLazyObject(ask)
    monkeypatch.setattr(plain, "_double_before", lazy, raising=False)
    plain.__dict__.update({"double": plain.__dict__.pop("double")})
    assert value_of(plain.double.enqueue(2)) == 4


def test_a_backend_is_an_alias_and_no_class() -> None:
    with pytest.raises(InvalidTask, match=r"tasks\.by_bgtasks: backend is an alias in TASKS"):
        tasks.by_bgtasks.using(backend=RQBackend)


def test_all_threads_get_the_same_classes() -> None:
    class Context(JobContext):
        """Without a twin yet."""

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: Context.of_backport, range(8)))) == 1


def test_a_context_of_the_backport_can_do_what_ours_can() -> None:
    result = plain.asks_the_backport.enqueue()
    context: Any = context_of(result.job, plain.asks_the_backport, "default")
    assert issubclass(type(context), JobContext)
    assert issubclass(type(context), TaskContext) is (django.VERSION < (6, 0))
    assert context.idempotency_key == result.id
    assert isinstance(context, django_tasks.TaskContext)


@pytest.mark.django_db(transaction=True)
def test_a_worker_runs_plain_tasks(bgworker: WorkerFactory) -> None:
    results = [getattr(plain, name).enqueue(2) for name in NAMES]
    results += [plain.who.enqueue(), plain.asks_the_backport.enqueue()]
    assert bgworker("--burst").wait() == 0
    for result in results:
        result.refresh()
    values = [result.return_value for result in results]
    assert values == [4, 4, 4, 4, 6, [1, results[5].id], True]


def test_users_of_the_backport_find_its_classes() -> None:
    for made in (tasks.by_the_backport, plain.by_the_backport):
        assert isinstance(made, BackportTask)
        result = made.enqueue(1)
        assert isinstance(result, django_tasks.TaskResult)
        assert result.status is django_tasks.TaskResultStatus.READY
        assert isinstance(made.get_result(result.id), django_tasks.TaskResult)
    assert value_of(plain.asks_the_backport.enqueue()) is True


def test_what_the_backport_makes_is_ours_too() -> None:
    result = tasks.by_the_backport.enqueue(1)
    assert issubclass(type(tasks.by_the_backport), BackgroundTask)
    assert isinstance(result, JobResult)
    assert issubclass(type(result), JobResult)
    copied: Any = tasks.by_the_backport.using(dedup_key="one", timeout=7)
    assert isinstance(copied, BackportTask)
    assert pickle.loads(pickle.dumps(copied)) == copied
    assert pickle.loads(pickle.dumps(result)) == result
    made: Any = copied.enqueue(1)
    assert made.job.timeout == 7


def test_what_django_makes_is_djangos() -> None:
    for made in (tasks.by_django, tasks.by_bgtasks, plain.add):
        assert isinstance(made, Task)
        assert isinstance(made.enqueue(1), TaskResult)
    assert not isinstance(plain.add, BackgroundTask)
    assert not isinstance(object(), JobContext)


def test_the_backports_backend_is_one_of_its_backends() -> None:
    from django_tasks.backends.base import BaseTaskBackend as BackportsBase

    assert isinstance(django_tasks.task_backends["default"], BackportsBase)
    assert isinstance(task_backends["default"], BaseTaskBackend)


def test_errors_of_a_failed_task_are_the_backports() -> None:
    from django_tasks.base import TaskError

    result = tasks.by_the_backport.enqueue("a")
    run_jobs()
    result.refresh()
    [error] = result.errors
    assert isinstance(error, TaskError)
    assert error.exception_class is TypeError


def test_who_uses_the_backport_may_catch_the_exceptions_of_either() -> None:
    names = vars(backports)
    for kind in (InvalidTask, names["InvalidTaskError"]):
        with pytest.raises(kind, match="'nowhere' is not valid"):
            tasks.by_the_backport.using(queue_name="nowhere")
        with pytest.raises(kind, match="no worker could find"):
            dataclasses.replace(plain.by_the_backport, func=plain.no_task).enqueue(1)
    for kind in (InvalidTaskBackend, names["InvalidTaskBackendError"]):
        with pytest.raises(kind, match="The connection 'unknown' doesn't exist"):
            tasks.by_the_backport.using(backend="unknown")
    result = tasks.by_the_backport.enqueue(1)
    result.job.delete()
    with pytest.raises(names["TaskResultDoesNotExist"]):
        result.refresh()
    with pytest.raises(names["TaskResultDoesNotExist"]):
        tasks.by_the_backport.get_result(result.id)
