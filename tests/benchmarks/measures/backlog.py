"""Whether work that is done, or that waits, makes the next job dearer."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import psutil

from django_bgtasks.core import clock
from django_bgtasks.ledger.hot.columns import unsaved
from django_bgtasks.ledger.insert import insert_calls
from django_bgtasks.ledger.sql import ledger_alias
from tests.app.tasks import add

from .drain import JOBS, drained, family
from .tools import Figures, emptied, pss, rate, settled, spent, worker

FINAL, QUEUED, CHUNK = 1_000_000, 200_000, 10_000
# Parts of the jobs in the order in which they ended: with 100,000 still queued, with a few 1,000.
MANY, FEW = slice(95_000, 105_000), slice(-11_000, -1_000)
IDLE_SECONDS = 20
WEEK = timedelta(days=7)


def backlog(directory: Path) -> Figures:
    """The rate beside 1,000,000 final rows, and with 100,000 jobs queued; a child's memory."""
    memory: list[float] = []

    def look(processes: list[psutil.Process]) -> None:
        memory.append(max(pss(process) for process in processes[2:]))

    before = _rate_when_empty(directory)
    fill()
    drained(directory, JOBS)
    full = rate()
    empty = (before + _rate_when_empty(directory)) / 2
    emptied()
    drained(directory, QUEUED, look)
    many, few = rate(MANY), rate(FEW)
    emptied()
    return {
        "empty table, before and after /s": empty,
        "1,000,000 final rows /s": full,
        "final rows ÷ empty": full / empty,
        "100,000 queued /s": many,
        "few queued /s": few,
        "many queued ÷ few": many / few,
        "child MiB after 10,000 jobs": memory[0],
        "child MiB after 100,000 jobs": memory[1],
    }


def upkeep(directory: Path) -> Figures:
    """The share of a core that an idle worker takes, beside 1,000,000 final rows."""
    emptied()
    figures = {"empty table, % of a core": _idle(directory)}
    fill()
    settled()
    figures["1,000,000 final rows, % of a core"] = _idle(directory)
    add.using(queue_name="reports").enqueue_many([(number, 1) for number in range(100_000)])
    figures["and 100,000 queued elsewhere, % of a core"] = _idle(directory, "default")
    emptied()
    return figures


def fill() -> None:
    """Put final rows of a week into the table: cancelled ones, which no rate counts."""
    task = add.module_path
    values = {"task": task, "queue": "default", "timeout": 60.0, "backend": add.backend}
    for chunk in range(FINAL // CHUNK):
        finished_at = clock.now() - WEEK * chunk * CHUNK / FINAL
        row = unsaved(args=[], kwargs={}, state="cancelled", finished_at=finished_at, **values)
        insert_calls(row, [(clock.new_id(), [1, 2], {}) for _ in range(CHUNK)], ledger_alias())


def _rate_when_empty(directory: Path) -> float:
    emptied()
    drained(directory, JOBS)
    return rate()


def _idle(directory: Path, *queues: str) -> float:
    with worker(directory, *queues, "--processes", 1, "--verbosity", 0) as started:
        time.sleep(5)
        processes = family(started.family())
        before, start = sum(map(spent, processes)), time.monotonic()
        time.sleep(IDLE_SECONDS)
        return 100 * (sum(map(spent, processes)) - before) / (time.monotonic() - start)
