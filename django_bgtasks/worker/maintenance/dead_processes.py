"""Maintenance task: settle the job that a dead child left behind."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from ...core import clock
from ...core.errors import ClaimLost, JobTimeout, TaskNotFound
from ...core.faultpoints import fault_point
from ...core.messages import Reason
from ...core.outcomes import Failure, Outcome, crashed, interrupted, raised, released
from ...core.payload import printable
from ...core.registry import find_task
from ...core.retry import DEFAULT_RETRY, Retry
from ...core.states import State
from ...jobs.execute import announce, sender_of, settled_row
from ...jobs.hooks import tell_failed
from ...jobs.results import result_of
from ...ledger.outages import DISCONNECTED, retry_on_conflict, was_in_the_way
from ...ledger.settle import crashes_of, settle_once
from ...models import Job
from ...signals import job_rescued
from .promote import send

logger = logging.getLogger("django_bgtasks.worker")
WORKER_GONE = Reason("worker_gone")
# Whose failure the log has: it is tried again every few seconds.
_told: deque[Death] = deque(maxlen=100)


@dataclass(frozen=True, slots=True)
class Death:
    """A child died while it held a job.

    claim: the number of the claim; None if the job was still being claimed. why: crash, timeout,
    cancelled, interrupted (by a stop: not the job's fault), or unbegun (the claim waited in a
    group, or nobody ever knew of it). end: how the child ended.
    """

    job: UUID
    claim: int | None
    worker: UUID | None
    why: str
    end: Reason = WORKER_GONE

    @property
    def begun(self) -> bool:
        """Whether the task had begun, or may have."""
        return self.claim is not None and self.why != "unbegun"


def try_to_settle(
    death: Death, using: str, held_by_others: Callable[[], Collection[UUID]] = tuple
) -> bool | None:
    """settle_death(), in which what is wrong with one job is in no other job's way.

    None if it could not be settled now. Raises only what says that the database is away.
    """
    try:
        return settle_death(death, using, held_by_others)
    except DISCONNECTED as error:
        if not was_in_the_way(error):
            raise
        logger.warning("The end of job %s waits for a lock: %s", death.job, error)
    except Exception:
        level = logging.DEBUG if death in _told else logging.ERROR
        logger.log(level, "The end of job %s could not be settled.", death.job, exc_info=True)
        _told.append(death)
    return None


@fault_point("aftermath")
def settle_death(
    death: Death, using: str, held_by_others: Callable[[], Collection[UUID]] = tuple
) -> bool:
    """Settle the attempt that the death ended. False if there was nothing left to settle.

    held_by_others: the jobs in the hands of other children of the same worker, dead ones included
    that are yet to be settled.
    """
    job = Job.objects.using(using).filter(pk=death.job).first()
    if job is None:
        return False
    if job.state == State.QUEUED:
        # It died between the pop and the claim: the message is gone, the job is not.
        send([job])
        return False
    if not _is_of(job, death, held_by_others):
        return False
    settlement = _verdict(job, death, using)
    try:
        retry_on_conflict(lambda: settle_once(job, settlement, using), using)
    except ClaimLost:
        return False
    _tell(job, settlement, death)
    return True


def _is_of(job: Job, death: Death, held_by_others: Callable[[], Collection[UUID]]) -> bool:
    if job.state != State.RUNNING or job.worker != death.worker:
        return False
    if death.claim is None:
        # The claim in the row may be that of another child, which had a second message. The row
        # was read before this look: a child shows a job before it claims it.
        return job.pk not in held_by_others()
    return death.claim == job.claims


def _verdict(job: Job, death: Death, using: str) -> Outcome:
    if not death.begun:
        return released()
    if death.why == "cancelled" or job.cancel_requested_at is not None:
        return Outcome("stop", failure=Failure.of("cancelled", Reason("cancelled_killed")))
    if death.why == "timeout":
        error = JobTimeout.of("timeout_killed", seconds=f"{job.timeout:g}")
        return raised(error, job.attempt, job.max_attempts, _retry_of(job), clock.rng)
    failure = Failure.of("crash", death.end)
    if death.why == "interrupted":
        return interrupted(failure, job.on_crash)
    crashes = crashes_of(job.pk, using)
    return crashed(failure, job.attempt, job.max_attempts, crashes, job.on_crash)


def _retry_of(job: Job) -> Retry:
    try:
        return getattr(find_task(job.task), "retry", DEFAULT_RETRY)
    except TaskNotFound:
        return DEFAULT_RETRY


def _tell(job: Job, settlement: Outcome, death: Death) -> None:
    settled_row(job, settlement)
    logger.warning(
        "job=%s task=%s attempt=%d outcome=%s: %s %s",
        job.pk,
        printable(job.task),
        job.attempt,
        death.why if death.begun else "released",
        death.end,
        f"It is {job.state} now.",
    )
    if job.state == State.QUEUED:
        send([job])
    _signal(job)
    tell_failed(job, None, settlement)


def _signal(job: Job) -> None:
    try:
        task = find_task(job.task)
    except TaskNotFound:
        return
    job_rescued.send_robust(sender=sender_of(task), task_result=result_of(job, task))
    if job.is_final:
        announce("finished", job)
