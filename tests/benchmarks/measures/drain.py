"""How fast a worker runs short jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

from django_bgtasks.models import Job
from tests.app.tasks import add
from tests.waiting import wait_until

from .tools import Figures, emptied, rate, settled, spent, worker

JOBS = 20_000


def drain(directory: Path) -> Figures:
    """Short jobs a second that `bgworker --processes 2` runs, and its processor time for one."""
    used: list[float] = []

    def look(family: list[psutil.Process]) -> None:
        used.append(sum(spent(process) for process in family))

    emptied()
    drained(directory, JOBS, look)
    return {"jobs /s": rate(), "worker CPU ms/job": (used[1] - used[0]) * 1000 / (JOBS * 0.9)}


def drained(
    directory: Path,
    jobs: int,
    look: Callable[[list[psutil.Process]], None] | None = None,
    leave: int = 0,
) -> None:
    """Enqueue so many jobs and run them, all but about the last `leave`.

    look: called with the worker's processes when a tenth has begun, and at the end.
    """
    results = add.enqueue_many([(number, 1) for number in range(jobs)])
    settled()
    with worker(directory, "--processes", 2, "--verbosity", 0) as started:
        for place in (jobs // 10, jobs - leave - 1):
            # A question about one row: to count those that wait would take from what is measured.
            row = Job.objects.filter(pk=results[place].id, state="queued")
            wait_until(lambda: not row.exists(), timeout=600, pause=0.05)  # noqa: B023
            if place != jobs // 10 and not leave:
                wait_until(lambda: not Job.objects.all().live().exists(), timeout=60, pause=0.05)
            if look is not None:
                look(family(started.family()))


def family(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Supervisor, maintenance and job processes, in the order of their births."""
    return sorted(processes, key=lambda process: process.pid)
