"""What a job process does with the jobs that it is through with; any of its threads may do it."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from uuid import UUID

from ..core.payload import printable
from ..jobs.execute import Run, settle_runs
from ..ledger.lifecycle import release
from ..ledger.outages import retry_until_connected
from ..models import Job
from .config import WorkerConfig
from .fetcher import MessageFetcher
from .shared_state import SharedState

logger = logging.getLogger("django_bgtasks.worker")


class Settler:
    """Settles runs, hands back jobs, and drops their messages and their entries in shared memory.

    settled: how many jobs this process has run and settled.
    """

    def __init__(self, config: WorkerConfig, shared: SharedState, fetcher: MessageFetcher) -> None:
        self.using, self.shared, self.fetcher = config.using, shared, fetcher
        self.settled = 0
        self._counting = threading.Lock()

    def settle(self, runs: list[Run], patient: bool = True) -> None:
        """Settle what is still open of these runs, and announce what became of each.

        patient: try again until the database is there; else raise what it raises.
        """
        if not runs:
            return
        settled = settle_runs(runs, self.using, patient)
        for run in runs:
            self.shared.drop(run.job.pk)
        self.announce([run.job.pk for run in runs], settled)

    def announce(self, ids: list[UUID], settled: list[Run]) -> None:
        """Acknowledge the messages of these jobs, and log those whose claim still held."""
        self.fetcher.acknowledge(ids, settled)
        with self._counting:
            self.settled += len(settled)
        if logger.isEnabledFor(logging.INFO):
            for run in settled:
                logger.info("%s", job_line(run))

    def hand_back(self, jobs: list[Job], patient: bool = True) -> None:
        """Release claimed jobs that have not begun, and put their messages back.

        patient: as for settle().
        """
        if not jobs:
            return
        if patient:
            retry_until_connected(lambda: release(jobs, self.using), self.using)
        else:
            release(jobs, self.using)
        self.put_back([job.pk for job in jobs])

    def put_back(self, ids: list[UUID]) -> None:
        """Return messages whose jobs are not claimed, or not any more."""
        for job_id in ids:
            self.shared.drop(job_id)
        self.fetcher.put_back(ids)

    def forget(self, job_id: UUID) -> None:
        """There was nothing to claim, or the claim was lost: drop the message."""
        self.shared.drop(job_id)
        self.fetcher.forget(job_id)


def job_line(run: Run) -> str:
    """id, task, queue, attempt, outcome, duration and wait of a job, in one line."""
    job, outcome = run.job, run.outcome
    attempt = job.attempt if outcome.charged else job.attempt + 1
    waited, state = 0.0, "retrying" if outcome.retries else job.state
    if job.started_at:
        # Since when it could have begun.
        since: datetime = max(filter(None, (job.enqueued_at, job.run_after)))
        waited = max(0.0, (job.started_at - since).total_seconds())
    line = (
        f"job={job.pk} task={job.task} queue={job.queue} attempt={attempt}/{job.max_attempts} "
        f"outcome={state} duration={run.seconds:.3f}s wait={waited:.3f}s"
    )
    return printable(f"{line} error={job.error}" if job.error else line)
