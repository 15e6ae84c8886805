"""How soon a worker begins its first job, beside what every start of a site takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.waiting import wait_until
from tests.workers import ROOT, WorkerProcess, environment

from .. import tasks
from .tools import Figures, lines_of, new_log

STARTS = 10


def start(directory: Path) -> Figures:
    """From the exec of `bgworker` to the begin of its first job, by turns with a whole `check`.

    The ratio is the median of those of the turns: what else the machine does is in both.
    """
    checks, workers = [], []
    for _ in range(STARTS):
        checks.append(_check())
        workers.append(_first_job(directory))
    turns = [worker / check for worker, check in zip(workers, checks, strict=True)]
    return {
        "first job ms": statistics.median(workers) * 1000,
        "manage.py check ms": statistics.median(checks) * 1000,
        "first job ÷ check": statistics.median(turns),
    }


def _check() -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "django", "check"]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    return time.monotonic() - began


def _first_job(directory: Path) -> float:
    log = new_log(directory)
    tasks.note_begin.enqueue(str(log))
    began = time.monotonic()
    worker = WorkerProcess(["--verbosity", 0], env=environment(), output=new_log(directory))
    try:
        wait_until(lambda: bool(lines_of(log)), timeout=60)
        return float(lines_of(log)[0]) - began
    finally:
        worker.stop()
