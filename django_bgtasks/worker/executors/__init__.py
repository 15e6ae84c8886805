"""The ways in which a job process runs claimed jobs, behind one interface.

inline: short jobs in the main thread, in batches. threads: blocking jobs. event_loop: coroutines.
What inline has run, its own completed() gives to the main thread; what the others have run,
ActiveRuns.completed() gives to the settling thread.
"""

from __future__ import annotations

from typing import Protocol

from ...jobs.execute import Run
from ...models import Job


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
