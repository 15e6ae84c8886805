"""Run queued jobs in the test's process: claim, call, settle, as a worker does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from uuid import UUID

from django.db import DatabaseError

from ..core import clock
from ..core.states import State
from ..jobs.enqueue import without_dispatch
from ..jobs.execute import run_claimed
from ..jobs.expiry import expire_jobs
from ..jobs.inline import settle_interrupted
from ..jobs.waiting import admit_waiting, give_seats, promote_jobs
from ..ledger.expiry import not_expired
from ..ledger.lifecycle import claim_next, ledger_database
from ..ledger.workers import running_of
from ..models import Job
from ..workflows.followers import sweep

LIMIT = 10_000


def without_redis() -> AbstractContextManager[None]:
    """Within it enqueuing talks to no Redis; the jobs wait in the database for run_jobs()."""
    return without_dispatch()


def run_jobs(queues: Sequence[str] | None = None, *, limit: int = LIMIT) -> list[Job]:
    """Run the queued jobs, and those that they enqueue, until none is left that is due.

    queues: only these, in this order; default: all. limit: at most so many runs, against a task
    that enqueues itself for ever. Returns the jobs that ran, as they are now, in order; a job that
    was retried without delay appears once for each run.

    Jobs for later stay scheduled: turn the database's clock by setting `run_after`, or run one
    with `run_job_now`. A task's exception is settled as in a worker, never raised here.

    Raises what is meant for this process: KeyboardInterrupt at Ctrl-C, and what a signal handler
    raises, such as SystemExit. The job that ran is left as an interrupted worker leaves it: queued
    again at no cost, or failed with on_crash="fail".
    """
    using, worker = ledger_database(), clock.new_id()
    ran: list[UUID] = []
    with without_dispatch(), _interruptible(worker, using):
        while _makes_ready(using) or _queues(queues, using):
            waiting = _queues(queues, using)
            if len(ran) >= limit and waiting:
                raise RuntimeError(f"run_jobs ran {limit} jobs and there are still more.")
            if job := claim_next(queues or waiting, worker, using):
                if not give_seats([job], using):
                    continue
                if run := run_claimed(job, using, of_caller=True):
                    run.take_exception()
                ran.append(job.pk)
    rows = Job.objects.using(using).in_bulk(ran)
    return [rows[job_id] for job_id in ran if job_id in rows]


def _makes_ready(using: str) -> int:
    """Do to jobs that wait what maintenance does. How many it moved."""
    return (
        expire_jobs(1000, using)
        or promote_jobs(1000, using)
        or admit_waiting(using, 0.0)
        # Where nothing is ever committed, nobody else looks whether a batch has ended.
        or sweep(using)
    )


@contextmanager
def _interruptible(worker: UUID, using: str) -> Iterator[None]:
    """Leave no job claimed by a worker that does not exist any more."""
    try:
        yield
    except BaseException:
        # In a transaction that is broken nothing can be read.
        with suppress(DatabaseError):
            for job in running_of(worker, using):
                settle_interrupted(job, "run_jobs() was interrupted.", using)
        raise


def _queues(names: Sequence[str] | None, using: str) -> list[str]:
    """The queues that have queued jobs, of those that are wanted."""
    queued = Job.objects.using(using).filter(not_expired(), state=State.QUEUED).order_by("queue")
    queued = queued.filter(queue__in=names) if names else queued
    return list(queued.values_list("queue", flat=True).distinct())
