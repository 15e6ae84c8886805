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
IDLE_SECONDS = 20
WEEK = timedelta(days=7)


def backlog(directory: Path) -> Figures:
    """The rate beside 1,000,000 final rows, and with 100,000 jobs queued; a child's memory."""
    memory: list[float] = []

    def look(processes: list[psutil.Process]) -> None:
        memory.append(max(pss(process) for process in processes[2:]))

    rates = []
    for prepare in (emptied, _full, emptied):
        prepare()
        drained(directory, JOBS)
        rates.append(rate())
    emptied()
    drained(directory, QUEUED, look)
    # While the first of them end, all others wait.
    many = rate(slice(JOBS))
    emptied()
    full, few = rates[1], (rates[0] + rates[2]) / 2
    return {
        "20,000 queued, empty table, before and after /s": few,
        "1,000,000 final rows /s": full,
        "final rows ÷ empty": full / few,
        "first 20,000 of 200,000 queued /s": many,
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


def _full() -> None:
    emptied()
    fill()


def _idle(directory: Path, *queues: str) -> float:
    with worker(directory, *queues, "--processes", 1, "--verbosity", 0) as started:
        time.sleep(5)
        processes = family(started.family())
        before, start = sum(map(spent, processes)), time.monotonic()
        time.sleep(IDLE_SECONDS)
        return 100 * (sum(map(spent, processes)) - before) / (time.monotonic() - start)
