"""What is not to run now: due times, retries, and jobs whose task is not there."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from django_bgtasks.jobs.actions import run_job_now
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, wait_for_state

OLD = """
from django_bgtasks import task

@task
def greet(name):
    return f"Hello {name}"
"""


def lateness(due: datetime | None, started: datetime | None) -> float:
    assert due is not None
    assert started is not None
    return (started - due).total_seconds()


def test_a_scheduled_job_begins_within_a_second_of_its_time(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    due = timezone.now() + timedelta(seconds=1.2)
    job = tasks.record.using(run_after=due).enqueue(str(effects), "due")
    assert row(job).state == "scheduled"
    done = wait_for_state(job, "succeeded", timeout=5)
    assert 0 <= lateness(due, done.started_at) < 1.0


def test_what_has_expired_is_not_begun_and_what_nobody_takes_in_time_is_cancelled(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    over = timezone.now() - timedelta(seconds=1)
    record = tasks.record.using(expires=over)
    late, other = record.enqueue(str(effects), "late"), tasks.record.enqueue(str(effects), "other")
    assert bgworker("--burst").wait() == 0
    assert [(row(job).state, row(job).error_code) for job in (late, other)] == [
        ("cancelled", "expired"),
        ("succeeded", ""),
    ]
    bgworker("default")
    elsewhere = tasks.record.using(queue_name="emails", expires=0.5).enqueue(str(effects), "soon")
    assert wait_for_state(elsewhere, "cancelled").error_code == "expired"
    assert effects.texts == ["other"]


def test_a_retry_begins_when_its_delay_is_over(bgworker: WorkerFactory, effects: Effects) -> None:
    worker = bgworker()
    job = tasks.fail_once.enqueue(str(effects))
    scheduled = wait_for_state(job, "scheduled")
    assert scheduled.error == "ValueError: not yet"
    due = scheduled.run_after
    done = wait_for_state(job, "succeeded", timeout=5)
    assert (done.result, done.attempt) == ("second", 2)
    assert 0 <= lateness(due, done.started_at) < 1.0
    assert outcomes(job) == ["failed"]
    assert f"job={job.id} task=tests.worker.tasks.fail_once queue=default attempt=1/3 " in (
        worker.output
    )
    assert "outcome=retrying" in worker.output


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Two releases of a module of tasks; in the first one the task has another name."""
    paths = {name: tmp_path / name for name in ("renamed", "mended")}
    for name, path in paths.items():
        path.mkdir()
        code = OLD.replace("def greet", "def welcome") if name == "renamed" else OLD
        (path / "shop_tasks.py").write_text(code)
    sys.path.insert(0, str(paths["mended"]))
    yield {name: {"PYTHONPATH": os.fspath(path)} for name, path in paths.items()}
    sys.path.remove(str(paths["mended"]))
    sys.modules.pop("shop_tasks", None)


@pytest.mark.long
def test_a_job_whose_task_was_renamed_is_held_and_runs_after_the_fix(
    bgworker: WorkerFactory, releases: dict[str, Any]
) -> None:
    job = importlib.import_module("shop_tasks").greet.enqueue("Ada")
    worker = bgworker(env=releases["renamed"])
    held_job = wait_for_state(job, "scheduled")
    assert "The task shop_tasks.greet cannot be imported" in held_job.error
    assert (held_job.attempt, outcomes(job)) == (0, [])
    assert held_job.run_after is not None
    wait_until(lambda: f"job={job.id}" in worker.output)
    assert "error=The task shop_tasks.greet cannot be imported" in worker.output
    assert worker.stop() == 0
    bgworker(env=releases["mended"])
    run_job_now(job.id)
    done = wait_for_state(job, "succeeded", timeout=5)
    assert (done.result, done.attempt, done.error) == ("Hello Ada", 1, "")
