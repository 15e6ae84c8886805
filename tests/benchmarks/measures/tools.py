"""What the measurements have in common. Each is a function that returns figures by name."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from django.core.management import call_command
from django.db import connection

from django_bgtasks.models import Job
from django_bgtasks.transport.connection import connection as redis_of
from tests.waiting import wait_until
from tests.workers import WorkerProcess, environment

Figures = dict[str, float]


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


def pss(process: psutil.Process, part: str = "Pss") -> float:
    """Proportional set size: shared pages count by the number of their owners.

    part: "Pss_Anon" for what is no file's. Libraries are shared with every other Python here.
    """
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    [kib] = [line.split()[1] for line in rollup.splitlines() if line.startswith(f"{part}:")]
    return int(kib) / 1024


def has_pillow(process: psutil.Process) -> bool:
    """Whether the process has Pillow's C library in its memory."""
    return "_imaging." in Path(f"/proc/{process.pid}/maps").read_text()


def lines_of(log: Path) -> list[str]:
    """The lines of a file that may not be there yet."""
    return log.read_text().splitlines() if log.exists() else []


def rate(part: slice = slice(None)) -> float:
    """Jobs a second between the first and the last end of this part of all that have succeeded.

    The start of the processes is no part of it.
    """
    done = Job.objects.filter(state="succeeded").order_by("finished_at")
    ends: list[Any] = list(done.values_list("finished_at", flat=True))[part]
    seconds: float = (ends[-1] - ends[0]).total_seconds()
    return (len(ends) - 1) / seconds


def spent(process: psutil.Process) -> float:
    """The seconds of processor time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def emptied() -> None:
    """No rows, none that are dead, and no messages."""
    call_command("flush", interactive=False, verbosity=0)
    redis_of("default").flushall()
    settled()


def settled() -> None:
    """What PostgreSQL does by itself some minutes after many writes, done now."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")


def summary(waits: Sequence[float]) -> Figures:
    """Median and percentiles of times in milliseconds."""
    ordered = sorted(waits)
    return {
        "median ms": statistics.median(ordered),
        "p95 ms": share(ordered, 0.95),
        "p99 ms": share(ordered, 0.99),
        "worst ms": ordered[-1],
    }
