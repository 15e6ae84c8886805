"""Jobs that wait: side by side in one process, as coroutines and in threads."""

from __future__ import annotations

from pathlib import Path

from django.db.models import Max, Min

from django_bgtasks.models import Job
from tests.waiting import wait_until

from .. import tasks
from .tools import Figures, emptied, worker

JOBS, SECONDS = 1000, 0.1


def coroutines(directory: Path) -> Figures:
    """From the begin of the first to the end of the last of 1,000 coroutines of 100 ms.

    And of 200 that ask the database three times, and wait so long in between or not at all.
    """
    return {
        "1,000 × 100 ms, s": _drain(directory, tasks.wait_async, "--async-concurrency", 50),
        **{
            f"200 × 3 queries and {wait * 1000:g} ms between, {most} connections, s": _drain(
                directory, tasks.ask_async, "--async-connections", most, jobs=200, seconds=wait
            )
            for wait, most in ((0.0, 10), (0.05, 10), (0.05, 50))
        },
    }


def threads(directory: Path) -> Figures:
    """The same of 1,000 functions of 100 ms, with `--threads 50`."""
    return {"1,000 × 100 ms, s": _drain(directory, tasks.wait_blocking, "--threads", 50)}


def _drain(
    directory: Path,
    task: tasks.Waiting,
    *options: object,
    jobs: int = JOBS,
    seconds: float = SECONDS,
) -> float:
    emptied()
    task.enqueue_many([(seconds,)] * jobs)
    with worker(directory, "--processes", 1, "--verbosity", 0, *options):
        live = Job.objects.all().live()
        wait_until(lambda: not live.exists(), timeout=60)
    times = Job.objects.aggregate(first=Min("started_at"), last=Max("finished_at"))
    Job.objects.all().delete()
    return float((times["last"] - times["first"]).total_seconds())
