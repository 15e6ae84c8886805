"""The measurements. Each returns figures by name, in the unit that the name says."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from django.db import transaction
from django.db.models import Max, Min

from django_bgtasks.models import Job
from tests.app.tasks import add
from tests.waiting import wait_until
from tests.workers import WorkerProcess, environment

from . import tasks
from .dashboard import dashboard

Figures = dict[str, float]
PICKUP_JOBS, PICKUP_EVERY = 250, 0.02
ENQUEUE_JOBS, DRAIN_JOBS = 1000, 2000


def pickup(directory: Path) -> Figures:
    """From the commit of a job until its task begins, in an idle worker."""
    log = new_log(directory)
    committed: list[float] = []
    with worker(directory, "--processes", 1, "--verbosity", 0):
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
    waits = sorted((end - start) * 1000 for start, end in zip(committed, began, strict=True))
    return {
        "median ms": statistics.median(waits),
        "p95 ms": share(waits, 0.95),
        "p99 ms": share(waits, 0.99),
        "worst ms": waits[-1],
    }


def memory(directory: Path) -> Figures:
    """What an idle `bgworker --processes 2` holds: proportional set size, in MiB."""
    with worker(directory, "--processes", 2) as started:
        log = new_log(directory)
        for _ in range(20):
            tasks.note_begin.enqueue(str(log))
        wait_until(lambda: len(lines_of(log)) == 20)
        wait_until(lambda: len(started.family()) == 4)
        time.sleep(5)
        family = sorted(started.family(), key=lambda process: process.pid)
        names = ["arbiter", "upkeep", "child 1", "child 2"]
        figures = {f"{name} MiB": pss(process) for name, process in zip(names, family, strict=True)}
        figures["Pillow loaded"] = float(all(has_pillow(process) for process in family))
    return {**figures, "sum MiB": sum(v for name, v in figures.items() if name.endswith("MiB"))}


def enqueue(directory: Path) -> Figures:
    """Jobs a second that one process enqueues: one by one, and in bulk."""
    start = time.perf_counter()
    for number in range(ENQUEUE_JOBS):
        add.enqueue(number, 1)
    one_by_one = ENQUEUE_JOBS / (time.perf_counter() - start)
    start = time.perf_counter()
    add.enqueue_many([(number, 1) for number in range(10 * ENQUEUE_JOBS)])
    in_bulk = 10 * ENQUEUE_JOBS / (time.perf_counter() - start)
    Job.objects.all().delete()
    return {"one by one /s": one_by_one, "enqueue_many /s": in_bulk}


def drain(directory: Path) -> Figures:
    """Short jobs a second that `bgworker --processes 2` runs."""
    Job.objects.all().delete()
    jobs = add.enqueue_many([(number, 1) for number in range(DRAIN_JOBS)])
    with worker(directory, "--processes", 2, "--verbosity", 0):
        done = Job.objects.filter(state="succeeded")
        wait_until(lambda: done.count() == len(jobs), timeout=120)
    ends = done.aggregate(first=Min("finished_at"), last=Max("finished_at"))
    # Between the first and the last: the start of the processes is no part of the rate.
    return {"jobs /s": (len(jobs) - 1) / (ends["last"] - ends["first"]).total_seconds()}


@contextmanager
def worker(directory: Path, *arguments: object) -> Iterator[WorkerProcess]:
    """A running bgworker that has said its banner."""
    started = WorkerProcess(arguments, env=environment(), output=new_log(directory))
    try:
        wait_until(lambda: len(started.family()) > 2, timeout=20)
        yield started
    finally:
        started.stop()


def new_log(directory: Path) -> Path:
    """A file that no repetition before has used."""
    return directory / f"{time.monotonic_ns()}.log"


def share(ordered: list[float], part: float) -> float:
    """The value that this part of the ordered values does not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * part) - 1)]


def pss(process: psutil.Process) -> float:
    """Proportional set size: shared pages count by the number of their owners."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    [kib] = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
    return int(kib) / 1024


def has_pillow(process: psutil.Process) -> bool:
    """Whether the process has Pillow's C library in its memory."""
    return "_imaging." in Path(f"/proc/{process.pid}/maps").read_text()


def lines_of(log: Path) -> list[str]:
    """The lines of a file that may not be there yet."""
    return log.read_text().splitlines() if log.exists() else []


BENCHMARKS = {
    "pickup": pickup,
    "memory": memory,
    "enqueue": enqueue,
    "drain": drain,
    "dashboard": dashboard,
}
