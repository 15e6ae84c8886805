"""Whether work that is done, or that waits, makes the next job dearer."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from statistics import median

from django_bgtasks.core import clock
from django_bgtasks.ledger.lifecycle import insert_calls, ledger_database
from django_bgtasks.ledger.statements import unsaved
from django_bgtasks.models import Job
from tests.app.tasks import add

from .drain import drained, family
from .tools import Figures, emptied, rate, settled, spent, worker

FINAL, QUEUED, CHUNK = 1_000_000, 100_000, 10_000
# The jobs whose rate counts: not the first ones, while a new worker compares the ledger with Redis.
FIRST, COUNTED, ROUNDS = 20_000, 20_000, 3
IDLE_SECONDS = 20
WEEK = timedelta(days=7)


def backlog(directory: Path) -> Figures:
    """The rate with 100,000 jobs queued and beside 1,000,000 final rows, and that with neither."""
    few, many = [], []
    for _ in range(ROUNDS):
        emptied()
        few.append(_rate(directory))
        emptied()
        many.append(_rate(directory, behind=QUEUED))
    emptied()
    fill()
    full = [_rate(directory) for _ in range(ROUNDS)]
    emptied()
    few.append(_rate(directory))
    emptied()
    return {
        "few queued, empty table /s": median(few),
        "100,000 queued /s": median(many),
        "many queued ÷ few": median(many) / median(few),
        "1,000,000 final rows /s": median(full),
        "final rows ÷ empty": median(full) / median(few),
    }


def maintenance(directory: Path) -> Figures:
    """The share of a core that an idle worker takes, beside 1,000,000 final rows."""
    emptied()
    figures = {"empty table, % of a core": idle(directory)}
    fill()
    settled()
    figures["1,000,000 final rows, % of a core"] = idle(directory)
    add.using(queue_name="reports").enqueue_many([(number, 1) for number in range(QUEUED)])
    figures["and 100,000 queued elsewhere, % of a core"] = idle(directory, "default")
    emptied()
    return figures


def fill() -> None:
    """Put final rows of a week into the table: cancelled ones, which no rate counts."""
    task = add.module_path
    values = {"task": task, "queue": "default", "timeout": 60.0, "backend": add.backend}
    for chunk in range(FINAL // CHUNK):
        finished_at = clock.now() - WEEK * chunk * CHUNK / FINAL
        row = unsaved(args=[], kwargs={}, state="cancelled", finished_at=finished_at, **values)
        insert_calls(row, [(clock.new_id(), [1, 2], {}) for _ in range(CHUNK)], ledger_database())


def _rate(directory: Path, behind: int = 0) -> float:
    """Jobs a second of COUNTED ones. behind: how many more are queued at their end."""
    before = Job.objects.filter(state="succeeded").count()
    drained(directory, FIRST + COUNTED + behind, leave=behind)
    return rate(slice(before + FIRST, before + FIRST + COUNTED))


def idle(directory: Path, *queues: str) -> float:
    """The share of a core that an idle worker takes."""
    with worker(directory, *queues, "--processes", 1, "--verbosity", 0) as started:
        time.sleep(5)
        processes = family(started.family())
        before, start = sum(map(spent, processes)), time.monotonic()
        time.sleep(IDLE_SECONDS)
        return 100 * (sum(map(spent, processes)) - before) / (time.monotonic() - start)
