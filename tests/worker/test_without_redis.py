"""A real worker without Redis: its jobs end as they should, and nobody looks for one."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from django_bgtasks.jobs.actions import cancel_job, pause_queue, resume_queue
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, wait_for_state

WITHOUT = {"redis_url": None}
NOTE = "redis     without Redis: jobs start within 0.5 s; with Redis within milliseconds"


@pytest.fixture
def unwanted(settings: Settings) -> Iterator[socket.socket]:
    """Where CACHES says that Redis is: a socket that nobody should connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        location = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": location}}
        settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": WITHOUT}}
        yield server


def test_what_is_promised_holds_without_redis_and_nobody_connects_to_one(
    bgworker: WorkerFactory, unwanted: socket.socket, effects: Effects
) -> None:
    worker = bgworker("--processes", 2, env={"BGTASKS_TEST_OPTIONS": json.dumps(WITHOUT)})
    worker.wait_for(NOTE)
    pause_queue("emails")
    paused = tasks.record_email.enqueue(str(effects), "paused")
    crashed = tasks.kill_once.enqueue(f"{effects}.crash")
    retried = tasks.fail_once.enqueue(f"{effects}.retry")
    for job, outcome in ((crashed, "crash"), (retried, "failed")):
        assert wait_for_state(job, "succeeded").attempt == 2
        assert outcomes(job) == [outcome]
    cancelled = tasks.sleep.enqueue(str(effects))
    wait_for_state(cancelled, "running")
    cancel_job(cancelled.id)
    wait_for_state(cancelled, "cancelled")
    assert row(paused).state == "queued"
    resume_queue("emails")
    wait_for_state(paused, "succeeded")
    assert worker.stop() == 0
    wait_until(lambda: not worker.family())
    # What else the log has is of jobs.
    [line] = [line for line in worker.output.splitlines() if "edis" in line]
    assert line.strip() == f"{NOTE} (docs/settings.md#without-redis)"
    with pytest.raises(BlockingIOError):
        unwanted.accept()
