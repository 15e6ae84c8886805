"""How fast a worker runs short jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

from django_bgtasks.models import Job
from tests.app.tasks import add
from tests.waiting import wait_until

from .tools import Figures, rate, spent, worker

JOBS = 20_000


def drain(directory: Path) -> Figures:
    """Short jobs a second that `bgworker --processes 2` runs, and its processor time for one."""
    Job.objects.all().delete()
    used: list[float] = []

    def look(family: list[psutil.Process]) -> None:
        used.append(sum(spent(process) for process in family))

    drained(directory, JOBS, look)
    return {"jobs /s": rate(), "worker CPU ms/job": (used[1] - used[0]) * 1000 / JOBS}


def drained(
    directory: Path, jobs: int, look: Callable[[list[psutil.Process]], None] | None = None
) -> None:
    """Enqueue so many jobs and run them all.

    look: called with the worker's processes when a tenth has begun, and at the end.
    """
    add.enqueue_many([(number, 1) for number in range(jobs)])
    queued = Job.objects.filter(state="queued")
    with worker(directory, "--processes", 2, "--verbosity", 0) as started:
        wait_until(lambda: queued.count() < jobs * 0.9, timeout=120)
        if look is not None:
            look(family(started.family()))
        wait_until(lambda: not queued.exists() and not running(), timeout=600)
        if look is not None:
            look(family(started.family()))


def family(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Arbiter, upkeep and children, in the order of their births."""
    return sorted(processes, key=lambda process: process.pid)


def running() -> bool:
    """Whether a job runs or waits for its settlement."""
    return Job.objects.filter(state="running").exists()
