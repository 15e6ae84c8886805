"""A worker goes on without its output, and loses no line of a log that it has."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import wait_for_state

# The rest of the command line runs as the shell says.
CLOSED = {
    "stdin": "<&-",
    "stdout": ">&-",
    "stderr": "2>&-",
    "all": "<&- >&- 2>&-",
    "full disk": ">/dev/full 2>/dev/full",
    "reader gone": "> >(true) 2>&1",
}


@pytest.mark.long(after=1)
@pytest.mark.parametrize(
    "redirection",
    [
        pytest.param(way, id=name, marks=[pytest.mark.long] if name.startswith("std") else [])
        for name, way in CLOSED.items()
    ],
)
def test_a_worker_without_an_output_runs_its_jobs_and_stops_in_order(
    bgworker: WorkerFactory, effects: Effects, redirection: str
) -> None:
    worker = bgworker(within=("bash", "-c", f'exec "$@" {redirection}', "bash"))
    job = tasks.prints.enqueue(str(effects), 100_000)
    assert wait_for_state(job, "succeeded", timeout=30).attempt == 1
    # What it opens is none of its standard streams.
    files: Any = wait_for_state(tasks.standard_files.enqueue(), "succeeded").result
    assert not [file for file in files if "socket" in file or "sqlite" in file]
    assert worker.stop() == 0


HANDLERS = {
    "memory": {"class": "logging.handlers.MemoryHandler", "capacity": 10_000, "target": "file"},
    "queue": {"class": "logging.handlers.QueueHandler", "handlers": ["file"]},
}


def site_log(log: Path, handler: str) -> str:
    """LOGGING as JSON: all lines go to this file, through a handler that holds them back."""
    file = {"class": "logging.FileHandler", "filename": str(log)}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": file, handler: HANDLERS[handler]},
        "root": {"level": "INFO", "handlers": [handler]},
        "loggers": {"shop": {"level": "INFO"}},
    }
    return json.dumps(config)


# Before Python 3.12 no configuration can give a QueueHandler its listener.
HOLDING_BACK = ["memory", "queue"] if sys.version_info >= (3, 12) else ["memory"]


@pytest.mark.long(after=1)
@pytest.mark.parametrize("handler", HOLDING_BACK)
def test_the_lines_of_a_job_come_once_though_a_handler_holds_them_back(
    bgworker: WorkerFactory, tmp_path: Path, handler: str
) -> None:
    log = tmp_path / "site.log"
    worker = bgworker(env={"BGTASKS_TEST_LOGGING": site_log(log, handler)})
    job = tasks.logs.enqueue("before the end")
    wait_for_state(job, "succeeded")
    assert worker.stop() == 0
    lines = log.read_text().splitlines()
    assert lines.count("before the end") == 1
    assert len([line for line in lines if re.search(f"job={job.id}.*succeeded", line)]) == 1
    assert len([line for line in lines if line.startswith("Stopping")]) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "start",
    [pytest.param("by hand", marks=pytest.mark.long), "by hand, one queue for all processes"],
)
def test_a_listener_that_a_site_starts_by_hand_has_the_lines_of_all_processes(
    bgworker: WorkerFactory, tmp_path: Path, start: str
) -> None:
    log = tmp_path / "site.log"
    kind = "multiprocessing.Queue()" if "one queue" in start else "queue.Queue()"
    (tmp_path / "listening_settings.py").write_text(LISTENING.format(log=log, queue=kind))
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "listening_settings"}
    worker = bgworker("--max-jobs", 2, env=env)
    for number in range(5):
        wait_for_state(tasks.logs.enqueue(f"line {number}"), "succeeded")
    wait_until(lambda: [f"line {n}" in log.read_text() for n in range(5)] == [True] * 5)
    assert worker.stop() == 0
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {n}" for n in range(5)]
    assert "Traceback" not in worker.output


LISTENING = """
import logging, logging.handlers, multiprocessing, queue
from tests.settings import *

_queue = {queue}
_handler = logging.handlers.QueueHandler(_queue)
logging.getLogger("shop").addHandler(_handler)
_listener = logging.handlers.QueueListener(_queue, logging.FileHandler({str(log)!r}))
_listener.start()
""".replace("{str(log)!r}", "'{log}'")


@pytest.mark.parametrize("end", [pytest.param("timeout", marks=pytest.mark.long), "stop"])
def test_what_a_job_logged_and_printed_before_it_is_killed_is_not_lost(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path, end: str
) -> None:
    log = tmp_path / "site.log"
    env = {"BGTASKS_TEST_LOGGING": site_log(log, "memory"), "PYTHONUNBUFFERED": ""}
    worker = bgworker("--grace", 1.5, env=env)
    job = tasks.logs_and_goes_on.using(timeout=0.5 if end == "timeout" else 60).enqueue(
        str(effects)
    )
    wait_until(lambda: effects.texts == ["begin"])
    if end == "timeout":
        assert wait_for_state(job, "failed").error.startswith("JobTimeout")
    assert worker.stop() == 0
    assert log.read_text().splitlines().count("before it is killed") == 1
    assert worker.output.count("printed by it") == 1


def test_what_a_task_prints_is_written_when_it_has_ended(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    """Without PYTHONUNBUFFERED, as most run it; the process goes on to live."""
    worker = bgworker(env={"PYTHONUNBUFFERED": ""})
    wait_for_state(tasks.prints.enqueue(str(effects), 3), "succeeded")
    worker.wait_for("xxx")
    assert worker.stop() == 0
