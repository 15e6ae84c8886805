"""Which queues there are, which backend an alias means, and which task a path names."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from django_bgtasks import TaskNotFound, task
from django_bgtasks.backend import RQBackend
from django_bgtasks.jobs.task import ensure_backend, find_task, queues_of
from tests.app import tasks

RQ_BACKEND = "django_bgtasks.backend.RQBackend"


def plain() -> None:
    """A function that nobody made a task."""


def test_a_path_leads_to_the_task_of_that_name() -> None:
    assert find_task("tests.app.tasks.add") is tasks.add


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("tests.app.tasks.gone", "cannot be imported"),
        ("tests.gone.add", "cannot be imported"),
        ("add", "cannot be imported"),
        ("", "cannot be imported"),
        ("tests.core.broken.add", "cannot be imported: a module that is broken"),
        ("tests.core.test_registry.plain", "is not a task: decorate the function with @task"),
        ("os.system", "is not a task"),
    ],
)
def test_a_path_that_leads_to_no_task_says_why(path: str, why: str) -> None:
    with pytest.raises(TaskNotFound, match=why):
        find_task(path)


def test_queues_are_those_of_the_settings(settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": RQ_BACKEND, "QUEUES": ["a", "b"]}}
    assert queues_of("default") == {"a", "b"}


def test_without_queues_in_the_settings_they_are_those_that_tasks_name(settings: Settings) -> None:
    settings.TASKS = {"open": {"BACKEND": RQ_BACKEND, "QUEUES": []}}
    task(queue_name="letters")(plain)
    assert queues_of("open") == {"default", "letters"}


def test_the_implicit_backend_is_there_when_it_is_asked_for(settings: Settings) -> None:
    settings.TASKS = {}
    assert isinstance(ensure_backend("bgtasks"), RQBackend)
    assert settings.TASKS == {}, "the site's settings stay as they are"
