"""Tasks of Celery's kind, run by real workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_bgtasks.contrib.celery import AsyncResult, chord, group
from django_bgtasks.contrib.celery.errors import ResultTimeoutError
from django_bgtasks.models import Job
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import celery_tasks as tasks


def test_a_chord_and_a_chain_run(bgworker: WorkerFactory) -> None:
    bgworker()
    flow = chord(tasks.add.s(n, n) for n in range(4))
    result = (group(tasks.add.s(n, n) for n in range(4)) | tasks.total.s() | tasks.add.s(1)).delay()
    assert result.get(timeout=30) == 13
    assert flow(tasks.total.s()).get(timeout=30) == 12


def test_a_state_of_its_own_is_seen_from_outside(bgworker: WorkerFactory, tmp_path: Path) -> None:
    bgworker()
    result = tasks.showing.delay(str(tmp_path / "gate"))
    wait_until(lambda: AsyncResult(result.id).state == "PROGRESS", 30)
    assert result.info == {"current": 1, "total": 4}
    with pytest.raises(ResultTimeoutError):
        result.get(timeout=0.1)
    (tmp_path / "gate").touch()
    assert result.get(timeout=30) == "shown"


def test_what_runs_is_revoked_with_terminate_only(bgworker: WorkerFactory, tmp_path: Path) -> None:
    bgworker()
    result = tasks.showing.delay(str(tmp_path / "gate"))
    wait_until(lambda: result.state == "PROGRESS", 30)
    result.revoke()
    assert Job.objects.get().cancel_requested_at is None
    result.revoke(terminate=True)
    wait_until(lambda: result.state == "REVOKED", 30)
    waiting = tasks.add.apply_async((1, 2), countdown=3600)
    waiting.revoke()
    assert waiting.state == "REVOKED"


def test_a_task_that_was_acknowledged_before_does_not_run_again(
    bgworker: WorkerFactory, tmp_path: Path
) -> None:
    bgworker()
    path = tmp_path / "failure"
    result = tasks.dying_once.apply_async((str(path),), link_error=tasks.write_failure.s(str(path)))
    # It is there before it is written.
    wait_until(lambda: path.exists() and path.read_text(), 40)
    assert path.read_text().startswith(result.id)
    assert (result.state, result.retries) == ("FAILURE", 0)


def test_a_task_that_kills_its_process_fails_in_the_end(
    bgworker: WorkerFactory, tmp_path: Path
) -> None:
    bgworker()
    result = tasks.dying.delay(str(tmp_path))
    wait_until(lambda: result.state == "FAILURE", 60)
    assert result.retries == 2


def test_what_swallows_the_end_of_its_time_is_killed(bgworker: WorkerFactory) -> None:
    bgworker()
    result = tasks.endless.delay()
    wait_until(lambda: result.state == "FAILURE", 40)
    assert "JobTimeout" in type(result.result).__name__
