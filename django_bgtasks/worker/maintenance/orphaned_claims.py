"""Maintenance task: release the jobs that this worker has claimed without knowing it.

A claim whose answer was lost, because its job process died or its connection broke while it
waited, may have gone through all the same: then the worker lives, and none of its job processes
runs the job.
"""

from __future__ import annotations

from uuid import UUID

from ...core.messages import Reason
from ...core.outcomes import DeathCause
from ...ledger.workers import running_of
from .dead_processes import Death, try_to_settle
from .orders import Orders


class OrphanedClaims:
    """One worker's search."""

    def __init__(self, worker: UUID, using: str, orders: Orders) -> None:
        self.worker, self.using, self._orders = worker, using, orders
        self._suspects: set[tuple[UUID, int]] = set()

    def run_once(self) -> int:
        """Release what is nobody's in two looks; how many. In one look a job may just change hands.

        A job process shows a job before it claims it and until it is settled.
        """
        before = self._orders.held_jobs()
        claims = set(running_of(self.worker, self.using).values_list("pk", "claims"))
        known = before | self._orders.held_jobs()
        orphaned = {(job, claim) for job, claim in claims if job not in known}
        confirmed = orphaned & self._suspects
        self._suspects = orphaned - confirmed
        return sum(self._release(job, claim) for job, claim in confirmed)

    def _release(self, job: UUID, claim: int) -> bool:
        end = Reason("other", {"words": "Its claim was committed, but the answer was lost."})
        death = Death(job, claim, self.worker, DeathCause.UNBEGUN, end)
        return bool(try_to_settle(death, self.using))
