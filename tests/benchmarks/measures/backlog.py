"""Whether work that is done, or that waits, makes the next job dearer."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from django_bgtasks.core import clock
from django_bgtasks.ledger.hot.columns import unsaved
from django_bgtasks.ledger.insert import insert_calls
from django_bgtasks.ledger.sql import ledger_alias
from django_bgtasks.models import Job
from tests.app.tasks import add

from .drain import JOBS, drained, family
from .tools import Figures, pss, rate, spent, worker

FINAL, QUEUED, CHUNK = 1_000_000, 100_000, 10_000
# Parts of the jobs in the order in which they ended: with nearly all still queued, with few.
MANY, FEW = slice(5_000, 15_000), slice(-11_000, -1_000)
IDLE_SECONDS = 20


def backlog(directory: Path) -> Figures:
    """The rate beside 1,000,000 final rows, and with 100,000 jobs queued; a child's memory."""
    Job.objects.all().delete()
    drained(directory, JOBS)
    empty = rate()
    Job.objects.all().delete()
    memory: list[float] = []

    def look(processes: list[psutil.Process]) -> None:
        memory.append(max(pss(process) for process in processes[2:]))

    drained(directory, QUEUED, look)
    many, few = rate(MANY), rate(FEW)
    Job.objects.all().delete()
    fill()
    drained(directory, JOBS)
    full = rate()
    Job.objects.all().delete()
    return {
        "empty table /s": empty,
        "1,000,000 final rows /s": full,
        "final rows ÷ empty": full / empty,
        "most of 100,000 queued /s": many,
        "few queued /s": few,
        "many queued ÷ few": many / few,
        "child MiB after 5,000 jobs": memory[0],
        "child MiB after 50,000 jobs": memory[1],
    }


def upkeep(directory: Path) -> Figures:
    """The share of a core that an idle worker takes, beside 1,000,000 final rows."""
    Job.objects.all().delete()
    figures = {"empty table, % of a core": _idle(directory)}
    fill()
    figures["1,000,000 final rows, % of a core"] = _idle(directory)
    add.using(queue_name="reports").enqueue_many([(number, 1) for number in range(QUEUED)])
    figures["and 100,000 queued elsewhere, % of a core"] = _idle(directory, "default")
    Job.objects.all().delete()
    return figures


def fill() -> None:
    """Put final rows into the table: cancelled ones, which no rate counts."""
    task = add.module_path
    values = {"task": task, "queue": "default", "timeout": 60.0, "backend": add.backend}
    first = unsaved(args=[], kwargs={}, state="cancelled", finished_at=clock.now(), **values)
    for _ in range(FINAL // CHUNK):
        insert_calls(first, [(clock.new_id(), [1, 2], {}) for _ in range(CHUNK)], ledger_alias())


def _idle(directory: Path, *queues: str) -> float:
    with worker(directory, *queues, "--processes", 1, "--verbosity", 0) as started:
        time.sleep(5)
        processes = family(started.family())
        before, start = sum(map(spent, processes)), time.monotonic()
        time.sleep(IDLE_SECONDS)
        return 100 * (sum(map(spent, processes)) - before) / (time.monotonic() - start)
