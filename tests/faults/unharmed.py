"""After an abuse: the same worker runs a normal job, keeps its time limits, and stops in time."""

from __future__ import annotations

from typing import Any

from django_bgtasks.jobs.actions import cancel_job
from django_bgtasks.models import Job
from tests.workers import WorkerProcess

from . import abuse_tasks, tasks
from .case import Case

NEXT_WITHIN = 3.0
STOPPED_WITHIN = 5.0


def ended(case: Case, result: Any, timeout: float = 30.0) -> Job:
    """Wait until this job is final; its row."""
    case.wait_until(lambda: case.job(result).is_final, timeout)
    return case.job(result)


def runs_the_next(case: Case, worker: WorkerProcess, within: float = NEXT_WITHIN) -> int:
    """A normal job runs; the process that ran it."""
    with case.recovers(within):
        job = case.enqueue(tasks.plain)
        assert ended(case, job).state == "succeeded"
    worker.wait_for(f"job={job.id}")
    assert worker.returncode is None
    [end] = case.effects.of("end", job.id)
    return end.pid


def keeps_its_limits(case: Case, worker: WorkerProcess) -> None:
    """A timeout and a cancellation are heard by the task itself, and a stop by the idle worker."""
    late = case.enqueue(abuse_tasks.naps, timeout=0.5)
    assert ended(case, late).error.startswith("JobTimeout: ")
    unwanted = case.enqueue(abuse_tasks.naps)
    case.wait_until(lambda: case.effects.of("begin", unwanted.id))
    cancel_job(unwanted.id)
    assert ended(case, unwanted).error == "JobCancelled: Cancelled on request."
    start = case.now()
    assert case.stop(worker) == 0
    assert case.now() - start < STOPPED_WITHIN
    assert "Killing job process" not in worker.output
