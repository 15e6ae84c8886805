"""What the supervisor has sent to maintenance: which job processes live, and which have died."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ...core.messages import Reason
from ..shared_state import SharedState
from .pipes import Pipe


class Orders:
    """The orders that have come so far, and the shared states of the job processes.

    pids: of the job processes that live. trouble: why there are none. deaths: those of job
    processes of which something is yet to be settled.
    """

    def __init__(self, pipe: Pipe, shared_states: Sequence[SharedState]) -> None:
        self._pipe, self._shared_states = pipe, shared_states
        self.pids: list[int] = []
        self.trouble: Reason | None = None
        self.deaths: list[dict[str, Any]] = []
        self.stopping = False

    def receive(self, seconds: float) -> None:
        """Take in what has come, or comes within so many seconds."""
        select.select([self._pipe.reader], [], [], seconds)
        orders = self._pipe.receive()
        if orders is None:
            # The supervisor is gone. Its jobs are rescued by others, or by the next worker here.
            os._exit(1)
        for order in orders:
            if order["kind"] == "died":
                self.deaths.append(order)
            elif order["kind"] == "processes":
                self.pids, trouble = order["pids"], order["trouble"]
                self.trouble = Reason(**trouble) if trouble else None
            elif order["kind"] == "stop":
                self.stopping = True

    def held_jobs(self) -> set[UUID]:
        """The jobs in the shared states, and those yet to be settled for a dead process."""
        return self._in_shared_states() | _jobs_of(self.deaths)

    def held_by_others(self, death: dict[str, Any]) -> set[UUID]:
        """The same without the death that is being settled."""
        jobs = self._in_shared_states()
        # In this order: a shared state is cleared after the death of its process was reported.
        self.receive(0)
        return jobs | _jobs_of([other for other in self.deaths if other is not death])

    def _in_shared_states(self) -> set[UUID]:
        return {job.job_id for shared in self._shared_states for job in shared.read()}


def _jobs_of(deaths: list[dict[str, Any]]) -> set[UUID]:
    return {UUID(job) for death in deaths for job, _, _ in death["jobs"]}
