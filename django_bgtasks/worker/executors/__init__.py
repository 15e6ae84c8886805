"""The ways in which a job process runs claimed jobs, behind one interface.

inline: short jobs in the main thread, in batches. threads: blocking jobs. event_loop: coroutines.
What inline has run, its own completed() gives to the main thread; what the others have run,
ActiveRuns.completed() gives to the settling thread.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from ...jobs.execute import Run
from ...models import Job
from ..fetcher import MessageFetcher


class Executor(Protocol):
    """Runs claimed jobs; the main thread alone calls it."""

    def capacity(self, rq_queue: str) -> int:
        """How many more jobs of this RQ queue may come."""

    def submit(self, jobs: list[Job]) -> list[Job]:
        """Begin these jobs. Returns those for which there is no room, or no time."""


class Runner(Protocol):
    """What an executor makes of a job."""

    job: Job

    def cancel(self) -> None:
        """Raise JobCancelled in the task."""

    def end(self) -> Run | None:
        """Settle the attempt, or leave its success open. None if the claim was lost."""


class Settler(Protocol):
    """What any thread of a job process does with the jobs that it is through with.

    patient: try again until the database is there; else raise what it raises.
    """

    using: str
    fetcher: MessageFetcher

    def settle(self, runs: list[Run], patient: bool = True) -> None:
        """Settle what is still open of these runs, and announce what became of each."""

    def announce(self, ids: list[UUID], settled: list[Run]) -> None:
        """Acknowledge the messages of these jobs, and log those whose claim still held."""

    def hand_back(self, jobs: list[Job], patient: bool = True) -> None:
        """Release claimed jobs that have not begun, and put their messages back."""

    def put_back(self, ids: list[UUID]) -> None:
        """Return messages whose jobs are not claimed, or not any more."""

    def forget(self, job_id: UUID) -> None:
        """There was nothing to claim, or the claim was lost: drop the message."""
