"""The signals of the tasks API: Django's, and the backport's where both are installed."""

from __future__ import annotations

import importlib
from asyncio import CancelledError
from collections.abc import Iterator
from typing import Any

import django
import pytest

from django_bgtasks.backend import RQBackend
from django_bgtasks.core.compat import TaskResultStatus
from django_bgtasks.testing import run_jobs

from . import tasks

pytestmark = pytest.mark.django_db
MODULES = ["django_tasks.signals", *(["django.tasks.signals"] if django.VERSION >= (6, 0) else [])]
NAMES = ("task_enqueued", "task_started", "task_finished")


@pytest.fixture(params=MODULES)
def events(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, Any, Any]]]:
    """What receivers of the signals were told: which, by whom, and the result."""
    module = importlib.import_module(request.param)
    events: list[tuple[str, Any, Any]] = []
    receivers = {name: _receiver(name, events) for name in NAMES}
    for name, receiver in receivers.items():
        getattr(module, name).connect(receiver)
    yield events
    for name, receiver in receivers.items():
        getattr(module, name).disconnect(receiver)


def _receiver(name: str, events: list[tuple[str, Any, Any]]) -> Any:
    def receiver(sender: Any, task_result: Any, **kwargs: Any) -> None:
        events.append((name, sender, (task_result.id, task_result.status)))

    return receiver


@pytest.mark.parametrize("made", [tasks.by_django, tasks.by_the_backport, tasks.by_bgtasks])
def test_each_step_of_a_job_is_told(made: Any, events: list[tuple[str, Any, Any]]) -> None:
    result = made.enqueue(1)
    run_jobs()
    assert events == [
        ("task_enqueued", RQBackend, (result.id, TaskResultStatus.READY)),
        ("task_started", RQBackend, (result.id, TaskResultStatus.RUNNING)),
        ("task_finished", RQBackend, (result.id, TaskResultStatus.SUCCESSFUL)),
    ]


def test_a_failure_is_told_as_such(events: list[tuple[str, Any, Any]]) -> None:
    result = tasks.raises.enqueue("no")
    run_jobs()
    assert events[-1] == ("task_finished", RQBackend, (result.id, TaskResultStatus.FAILED))


def test_a_duplicate_is_not_told_as_enqueued(events: list[tuple[str, Any, Any]]) -> None:
    tasks.with_a_lambda.enqueue(1)
    tasks.with_a_lambda.enqueue(1)
    assert [name for name, _, _ in events] == ["task_enqueued"]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, CancelledError])
def test_a_receiver_that_raises_harms_nobody(
    caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    module = importlib.import_module(MODULES[-1])

    def broken(**kwargs: Any) -> None:
        raise kind("a broken receiver")

    for name in NAMES:
        getattr(module, name).connect(broken)
    try:
        tasks.by_bgtasks.enqueue(1)
        assert [job.state for job in run_jobs()] == ["succeeded"]
    finally:
        for name in NAMES:
            getattr(module, name).disconnect(broken)
    assert "a broken receiver" in caplog.text
