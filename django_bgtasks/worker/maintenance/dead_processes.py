"""Maintenance task: settle the jobs that a dead job process left behind."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from ...core import clock
from ...core.errors import ClaimLost, JobTimeout
from ...core.faultpoints import fault_point
from ...core.messages import Reason
from ...core.outcomes import (
    DeathCause,
    Failure,
    Outcome,
    outcome_of_crash,
    outcome_of_exception,
    outcome_of_interruption,
    outcome_of_release,
)
from ...core.payload import printable
from ...core.retry import retry_of
from ...core.states import State, Transition
from ...jobs.enqueue import dispatch_on_commit, send_now
from ...jobs.execute import Run, announce_outcome
from ...jobs.results import announce
from ...jobs.task import known_task
from ...jobs.waiting import pass_on
from ...ledger import workers
from ...ledger.connection import retry_on_conflict
from ...ledger.database_errors import DISCONNECTED, is_conflict
from ...ledger.lifecycle import apply_outcome, crashes_of, reflect_outcome
from ...models import Job
from ..config import WorkerConfig
from .orders import Orders
from .pipes import Pipe
from .redispatch import Redispatch
from .rq_registry import RQRegistry

logger = logging.getLogger("django_bgtasks.worker")
WORKER_GONE = Reason("worker_gone")
# Seconds until the end of a job that could not be settled is tried again.
TRY_AGAIN = 2.0
# Whose failure the log has: it is tried again every few seconds.
_logged: deque[Death] = deque(maxlen=100)


@dataclass(frozen=True, slots=True)
class Death:
    """A job process died while it held a job.

    claim: the number of the claim; None if the job was still being claimed. end: how the job
    process ended.
    """

    job: UUID
    claim: int | None
    worker: UUID | None
    why: DeathCause
    end: Reason = WORKER_GONE

    @property
    def begun(self) -> bool:
        """Whether the task had begun, or may have."""
        return self.claim is not None and self.why is not DeathCause.UNBEGUN


class DeadProcesses:
    """Settles what each dead process of this worker left behind, and reports it."""

    def __init__(
        self,
        config: WorkerConfig,
        orders: Orders,
        reports: Pipe,
        redispatch: Redispatch,
        rq: RQRegistry,
    ) -> None:
        self._config, self._orders, self._reports = config, orders, reports
        self._redispatch, self._rq = redispatch, rq

    def run_once(self) -> None:
        """Settle what can be settled now. One job that cannot is in no other's way."""
        for death in list(self._orders.deaths):
            if clock.monotonic() >= death.get("again_at", 0.0):
                self._settle(death)

    def _settle(self, death: dict[str, Any]) -> None:
        config, others = self._config, partial(self._orders.held_by_others, death)
        for entry in list(death["jobs"]):
            job, claim, why = entry
            end = Reason(**death["end"])
            one = Death(UUID(job), claim or None, config.worker, DeathCause(why), end)
            if try_to_settle(one, config.using, others) is not None or self._orders.stopping:
                # At a stop it is left to others: they find it running for nobody.
                death["jobs"].remove(entry)
        if death["jobs"]:
            death["again_at"] = clock.monotonic() + TRY_AGAIN
            return
        self._reports.send("settled", number=death["number"])
        self._orders.deaths.remove(death)
        self._redispatch.soon()
        self._rq.remove(death["pid"])
        workers.count_death(config.worker, config.using)


def try_to_settle(
    death: Death, using: str, held_by_others: Callable[[], Collection[UUID]] = tuple
) -> bool | None:
    """settle_death(), in which what is wrong with one job is in no other job's way.

    None if it could not be settled now. Raises only what says that the database is away.
    """
    try:
        return settle_death(death, using, held_by_others)
    except DISCONNECTED as error:
        if not is_conflict(error):
            raise
        logger.warning("The end of job %s waits for a lock: %s", death.job, error)
    except Exception:
        level = logging.DEBUG if death in _logged else logging.ERROR
        logger.log(level, "The end of job %s could not be settled.", death.job, exc_info=True)
        _logged.append(death)
    return None


@fault_point("settle death")
def settle_death(
    death: Death, using: str, held_by_others: Callable[[], Collection[UUID]] = tuple
) -> bool:
    """Settle the attempt that the death ended. False if there was nothing left to settle.

    held_by_others: the jobs of the worker's other job processes, and of dead ones that are not
    settled yet.
    """
    job = Job.objects.using(using).filter(pk=death.job).first()
    if job is None:
        return False
    if job.state == State.QUEUED:
        # It died between the pop and the claim: the message is gone, the job is not.
        send_now([job])
        return False
    if not _is_of(job, death, held_by_others):
        return False
    outcome = _outcome_of(job, death, using)
    try:
        retry_on_conflict(lambda: apply_outcome(job, outcome, using), using)
    except ClaimLost:
        return False
    _announce(job, outcome, death, using)
    return True


def _is_of(job: Job, death: Death, held_by_others: Callable[[], Collection[UUID]]) -> bool:
    if job.state != State.RUNNING or job.worker != death.worker:
        return False
    if death.claim is None:
        # The claim in the row may be that of another process, which had a second message. The row
        # was read before this look: a job process shows a job before it claims it.
        return job.pk not in held_by_others()
    return death.claim == job.claims


def _outcome_of(job: Job, death: Death, using: str) -> Outcome:
    if not death.begun:
        return outcome_of_release()
    if death.why is DeathCause.CANCELLED or job.cancel_requested_at is not None:
        failure = Failure.of("cancelled", Reason("cancelled_killed"))
        return Outcome(Transition.CANCEL_RUNNING, failure=failure)
    if death.why is DeathCause.TIMEOUT:
        error = JobTimeout.of("timeout_killed", seconds=f"{job.timeout:g}")
        retry = retry_of(job.retry, known_task(job.task))
        return outcome_of_exception(error, job.attempt, job.max_attempts, retry, clock.rng)
    failure = Failure.of("crash", death.end)
    if death.why is DeathCause.INTERRUPTED:
        return outcome_of_interruption(failure, job.on_crash)
    crashes = crashes_of(job.pk, using)
    return outcome_of_crash(failure, job.attempt, job.max_attempts, crashes, job.on_crash)


def _announce(job: Job, outcome: Outcome, death: Death, using: str) -> None:
    pass_on([(job, outcome)], using)
    reflect_outcome(job, outcome)
    logger.warning(
        "job=%s task=%s attempt=%d outcome=%s: %s %s",
        job.pk,
        printable(job.task),
        job.attempt,
        death.why if death.begun else "released",
        death.end,
        f"It is {job.state} now.",
    )
    if job.state in (State.QUEUED, State.BLOCKED):
        dispatch_on_commit([job], using)
    task = known_task(job.task)
    announce("job_rescued", job, task)
    if death.begun:
        run = Run(job, using, task)
        run.outcome = outcome
        announce_outcome(run)
