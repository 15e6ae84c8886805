"""run_jobs() in a process that is interrupted: by Ctrl-C, or by a signal of the site's own."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from pytest_django import Settings

from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.app.models import Note
from tests.app.tasks import add

from . import interrupted

pytestmark = pytest.mark.django_db
each_task = pytest.mark.parametrize(
    "task",
    [
        interrupted.waits,
        interrupted.waits_side_by_side,
        interrupted.waits_in_its_transaction,
    ],
    ids=lambda task: task.name,
)
Handler = Callable[[int, FrameType | None], object]


class Leaving:
    """A handler that is an object, with a method for another one."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        sys.exit(3)

    def leave(self, number: int, frame: FrameType | None) -> None:
        sys.exit(3)


def leave(number: int, frame: FrameType | None) -> None:
    sys.exit(3)


@pytest.fixture
def on_sigterm() -> Iterator[Callable[[Handler], object]]:
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGTERM, before)


def job_of(result: Any) -> Job:
    result.refresh()
    job: Job = result.job
    return job


@each_task
def test_ctrl_c_ends_run_jobs_and_the_job_waits_again(task: Any) -> None:
    before, hit, after = add.enqueue(1, 2), task.enqueue(signal.SIGINT), add.enqueue(3, 4)
    with pytest.raises(KeyboardInterrupt):
        run_jobs()
    states = [job_of(result).state for result in (before, hit, after)]
    assert states == ["succeeded", "queued", "queued"]
    assert (hit.job.attempt, hit.job.error) == (0, "")
    assert not Note.objects.exists()


def test_an_interruption_talks_to_no_redis(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.CACHES = {}
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with without_redis():
        interrupted.waits.enqueue(signal.SIGINT)
    messages: list[str] = []
    monkeypatch.setattr(logging.getLogger("django_bgtasks.dispatch"), "warning", messages.append)
    with pytest.raises(KeyboardInterrupt):
        run_jobs()
    assert Job.objects.get().state == "queued"
    assert messages == []


def test_what_must_not_be_repeated_is_failed_as_by_a_worker() -> None:
    hit = interrupted.waits_once.enqueue(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_jobs()
    assert (job_of(hit).state, hit.job.attempt) == ("failed", 1)
    assert "run_jobs() was interrupted" in hit.job.error


def test_a_task_that_raises_keyboard_interrupt_ends_run_jobs_as_it_does_djangos_backend() -> None:
    hit = interrupted.raises_ctrl_c.enqueue(0)
    with pytest.raises(KeyboardInterrupt):
        run_jobs()
    assert job_of(hit).state == "queued"


@each_task
@pytest.mark.parametrize("handler", [leave, Leaving(), Leaving().leave])
def test_what_a_signal_handler_raises_is_meant_for_the_process(
    task: Any, handler: Handler, on_sigterm: Callable[[Handler], object]
) -> None:
    on_sigterm(handler)
    hit = task.enqueue(signal.SIGTERM)
    with pytest.raises(SystemExit) as leaving:
        run_jobs()
    assert leaving.value.code == 3
    assert (job_of(hit).state, hit.job.attempt) == ("queued", 0)


def test_a_task_that_calls_sys_exit_fails_as_in_a_worker() -> None:
    hit, after = interrupted.leaves.enqueue(3), add.enqueue(1, 2)
    run_jobs()
    assert [job_of(result).state for result in (hit, after)] == ["failed", "succeeded"]


def test_run_jobs_goes_on_where_it_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    hit = interrupted.waits.enqueue(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_jobs()
    monkeypatch.setattr(interrupted, "interrupt", lambda number: None)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    run_jobs()
    assert (job_of(hit).state, hit.job.attempt) == ("succeeded", 1)
