"""Step 4, the pop: a job child takes one message after another and runs the jobs itself.

Next: flow/execute.py (5 claim, run, settle).
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from types import FrameType
from uuid import UUID

from ..core import clock
from ..flow import footing
from ..flow.connections import refresh_connections
from ..flow.deadline import CANCEL_SIGNAL, confirm_cancellation
from ..flow.execute import Run, run, run_claimed
from ..ledger.claim import claim_next
from ..ledger.moves import promote
from ..ledger.settle import insist
from ..models import Job
from .lines import job_line
from .plan import Plan
from .processes import disown_copies, resident_mib
from .slots import Slot
from .sources import POP_SECONDS, Queues, Redis

logger = logging.getLogger("django_bgtasks.worker")
POLL_SECONDS = 0.5
BURST_PROMOTE = 1000
# Exit codes by which the arbiter knows an end that is no crash.
OUT_OF_WORK, SPENT = 0, 75


class Child:
    """One job child: its loop, from the first message to the last."""

    def __init__(self, plan: Plan, slot: Slot, speaks: bool = True) -> None:
        self.plan, self.slot = plan, slot
        self.stopping = False
        self.jobs = 0
        self.queues = Queues(plan)
        self.redis = Redis(plan, self.queues, speaks)

    def main(self) -> None:
        """Run jobs until asked to stop, recycled, or, in burst mode, out of work."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # Outside of a task a cancellation comes too late to matter, and so does an alarm. They are
        # not ignored: that would be inherited by the programs that tasks start.
        for number in (CANCEL_SIGNAL, signal.SIGALRM):
            signal.signal(number, _come_too_late)
        footing.take()
        disown_copies()
        confirm_cancellation(self.slot.is_cancelled)
        spent = False
        try:
            while not self.stopping and not spent:
                if not self.step() and self.plan.burst:
                    break
                spent = self._is_spent()
        finally:
            self.redis.leave()
        if spent and not self.stopping:
            sys.exit(SPENT)

    def step(self) -> bool:
        """Run the next job, or wait a moment for one. False if there was none."""
        job_id = self.redis.pop(0 if self.plan.burst else POP_SECONDS)
        if job_id is not None and self.stopping:
            # The stop came while it waited: others can begin this job now.
            self.redis.put_back(job_id)
            return False
        if job_id is not None:
            return self._run_message(job_id)
        if self.redis.suspended and self.redis.worker is not None:
            time.sleep(POLL_SECONDS)
            return False
        if self.redis.has_all() and not self.plan.burst:
            return False
        return self._run_from_database()

    def _run_message(self, job_id: UUID) -> bool:
        self.slot.claiming(job_id)
        if not self.redis.begin(job_id):
            self.slot.clear()
            return False
        plan = self.plan
        done = run(job_id, plan.worker, plan.alias, self._begun, plan.queues)
        self._ended(job_id, done)
        return True

    def _run_from_database(self) -> bool:
        """While Redis may lack messages, and at the end of a burst: the ledger has all jobs."""
        refresh_connections()
        plan, claiming = self.plan, self.slot.claiming
        names = self.queues.names()
        if plan.burst:
            insist(lambda: promote(BURST_PROMOTE, plan.alias), plan.alias)
        job = insist(lambda: claim_next(names, plan.worker, plan.alias, claiming), plan.alias)
        if job is None:
            self.slot.clear()
            if not self.plan.burst:
                time.sleep(POLL_SECONDS)
            return False
        self._begun(job)
        self.redis.begin(job.pk, popped=False)
        self._ended(job.pk, run_claimed(job, self.plan.alias))
        return True

    def _begun(self, job: Job) -> None:
        kill_at = clock.monotonic() + job.timeout + self.plan.options.kill_after
        self.slot.running(job.pk, job.claims, kill_at)

    def _ended(self, job_id: UUID, done: Run | None) -> None:
        self.slot.clear()
        self.redis.finish(job_id, done)
        if done is not None:
            self.jobs += 1
            logger.info("%s", job_line(done))

    def _is_spent(self) -> bool:
        # Not before its first job: with a limit below what Django itself needs, jobs still run.
        if not self.jobs:
            return False
        if self.plan.max_jobs is not None and self.jobs >= self.plan.max_jobs:
            logger.info("This child has run %d jobs and is replaced.", self.jobs)
            return True
        if self.plan.max_memory is not None and (held := resident_mib()) > self.plan.max_memory:
            logger.info("This child holds %.0f MiB and is replaced.", held)
            return True
        return False

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True


def _come_too_late(signum: int, frame: FrameType | None) -> None:
    """A signal for a task that has ended."""
