"""How soon an idle worker begins a job."""

from __future__ import annotations

import time
from pathlib import Path

from django.db import transaction

from tests.waiting import wait_until

from .. import tasks
from .tools import Figures, lines_of, new_log, summary, worker

PICKUP_JOBS, PICKUP_EVERY = 250, 0.02
# Each priority in use is a list of its own in Redis: these are 20.
QUEUES, PRIORITIES = ("default", "emails", "reports", "uploads"), (0, 10, 20, 30, 40)


def pickup(directory: Path) -> Figures:
    """From the commit of a job until its task begins, in an idle worker; and from the call, where
    that is the whole transaction.
    """
    figures: Figures = {}
    many = [(queue, priority) for queue in QUEUES for priority in PRIORITIES]
    for name, lists in (("1 queue", [("default", 0)]), (f"{len(many)} queues", many)):
        waits = _waits(directory, lists)
        figures |= {f"{name}, {figure}": value for figure, value in waits.items()}
    waits = _waits(directory, [("default", 0)], alone=True)
    return figures | {f"from the call, {figure}": value for figure, value in waits.items()}


def _waits(directory: Path, lists: list[tuple[str, int]], alone: bool = False) -> Figures:
    log = new_log(directory)
    committed: list[float] = []
    queues = dict.fromkeys(queue for queue, _ in lists)
    with worker(directory, *queues, "--processes", 1, "--verbosity", 0):
        for queue, priority in lists:
            tasks.note_begin.using(queue_name=queue, priority=priority).enqueue(str(log))
        wait_until(lambda: len(lines_of(log)) == len(lists))
        for _ in range(PICKUP_JOBS):
            time.sleep(PICKUP_EVERY)
            if alone:
                committed.append(time.monotonic())
                tasks.note_begin.enqueue(str(log))
                continue
            with transaction.atomic():
                # Hooks run in order: this one before the push.
                transaction.on_commit(lambda: committed.append(time.monotonic()))
                tasks.note_begin.enqueue(str(log))
        wait_until(lambda: len(lines_of(log)) == PICKUP_JOBS + len(lists), timeout=30)
    began = [float(line) for line in lines_of(log)[len(lists) :]]
    return summary([(end - start) * 1000 for start, end in zip(committed, began, strict=True)])
