"""How soon an idle worker begins a job."""

from __future__ import annotations

import time
from pathlib import Path

from django.db import transaction

from tests.waiting import wait_until

from .. import tasks
from .tools import Figures, lines_of, new_log, summary, worker

PICKUP_JOBS, PICKUP_EVERY = 250, 0.02
QUEUES = 20


def pickup(directory: Path) -> Figures:
    """From the commit of a job until its task begins, in an idle worker."""
    many = [f"queue{number}" for number in range(QUEUES - 1)]
    figures: Figures = {}
    for name, queues in (("1 queue", []), (f"{QUEUES} queues", many)):
        waits = _waits(directory, queues)
        figures |= {f"{name}, {figure}": value for figure, value in waits.items()}
    return figures


def _waits(directory: Path, queues: list[str]) -> Figures:
    log = new_log(directory)
    committed: list[float] = []
    with worker(directory, *queues, "default", "--processes", 1, "--verbosity", 0):
        tasks.note_begin.enqueue(str(log))
        wait_until(log.exists)
        for _ in range(PICKUP_JOBS):
            time.sleep(PICKUP_EVERY)
            with transaction.atomic():
                # Hooks run in order: this one before the push.
                transaction.on_commit(lambda: committed.append(time.monotonic()))
                tasks.note_begin.enqueue(str(log))
        wait_until(lambda: len(lines_of(log)) == PICKUP_JOBS + 1, timeout=30)
    began = [float(line) for line in lines_of(log)[1:]]
    return summary([(end - start) * 1000 for start, end in zip(committed, began, strict=True)])
