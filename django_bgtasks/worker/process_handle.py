"""A job process as the supervisor sees it: what it holds, and what its end means for that."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass, field
from uuid import UUID

from ..core import clock
from ..core.messages import Reason
from ..core.outcomes import DeathCause
from ..sandbox.restore import CANCEL_SIGNAL
from .config import WorkerConfig
from .job_process import OUT_OF_WORK, SPENT, JobProcess
from .once_flag import OnceFlag
from .processes import LastError, end_of, fork, signal_process
from .shared_state import HeldJob, SharedState

logger = logging.getLogger("django_bgtasks.worker")
CANCEL_GRACE = 2.0
LONGEST_BACKOFF = 5.0
QUICK_SECONDS = 1.0
# What hangs for so long between its fork and its work waits for a lock that nobody holds any more:
# a thread had it that the fork did not take along.
START_SECONDS = 10.0
HANGS = f"it did not come to its work within {START_SECONDS:g} s of its start"
# So many that end at once, one after another, are no accident.
NO_ACCIDENT = 3


@dataclass(slots=True)
class ProcessHandle:
    """A place for one process that runs jobs; one after another lives in it.

    kill_reason: the job it was killed for, and why. cancelling: until when each cancelled job may
    go on. trouble: why its processes end at once, again and again; None if they do not.
    """

    shared: SharedState = field(default_factory=SharedState)
    pid: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    killed: bool = False
    kill_reason: tuple[UUID, DeathCause] | None = None
    cancelling: dict[UUID, float] = field(default_factory=dict)
    last_error: LastError = field(default_factory=LastError)
    trouble: Reason | None = None

    def start(self, config: WorkerConfig, once_flag: OnceFlag) -> None:
        """Fork a process into this place."""
        self.kill_reason, self.killed, self.started_at = None, False, clock.monotonic()
        self.cancelling.clear()
        self.shared.clear()
        try:
            self.pid = fork(
                lambda: JobProcess(config, self.shared, once_flag).main(), self.last_error
            )
        except OSError as error:
            words = f"{type(error).__name__}: {error}"
            self._note_quick_end(Reason("other", {"words": words}))

    def reap(self, status: int) -> list[HeldJob]:
        """The process has ended: what it held. A place where they end at once starts later."""
        jobs, self.pid, code = self.shared.read(), 0, os.waitstatus_to_exitcode(status)
        idle = not any(job.begun for job in jobs)
        if self.killed and not self.shared.has_worked:
            self._note_quick_end(Reason("process_hung", {"seconds": f"{START_SECONDS:g}"}))
        elif self._is_young() and idle and code != SPENT and not self.killed:
            error = str(self.last_error) if code == 1 else ""
            self._note_quick_end(Reason("other", {"words": error}) if error else end_of(status))
        else:
            self.start_at = clock.monotonic()
            self._note_health()
        return jobs

    def look(self) -> None:
        """A process that works for a while has started well."""
        if self.quick_deaths and self.pid and self.shared.has_worked and not self._is_young():
            self._note_health()

    def _is_young(self) -> bool:
        return clock.monotonic() - self.started_at < QUICK_SECONDS

    def _note_quick_end(self, why: Reason) -> None:
        self.quick_deaths += 1
        self.start_at = clock.monotonic() + min(0.1 * 2**self.quick_deaths, LONGEST_BACKOFF)
        self.trouble = why if self.quick_deaths >= NO_ACCIDENT else None

    def _note_health(self) -> None:
        self.quick_deaths, self.trouble = 0, None
        self.last_error.clear()

    def ended_well(self, jobs: list[HeldJob], code: int) -> bool:
        """Whether nothing is to be settled after its end."""
        return not jobs and code in (OUT_OF_WORK, SPENT)

    def why(self, job: HeldJob) -> DeathCause:
        """What the end of the process means for a job that it held.

        Only jobs that have begun are charged, and of several only the one that it was killed for.
        After a crash that nobody caused nobody can tell which of several it was: all of them are
        charged, and run alone the next time. So are those that have run and are not settled.
        """
        if not job.begun:
            return DeathCause.UNBEGUN
        if job.job_id in self.cancelling:
            return DeathCause.CANCELLED
        if self.kill_reason is None:
            return DeathCause.INTERRUPTED if self.killed else DeathCause.CRASH
        killed_for, cause = self.kill_reason
        return cause if job.job_id == killed_for else DeathCause.INTERRUPTED

    def cancel(self, job: UUID, claim: int) -> None:
        """Ask the process to end this job, if it runs it; enforce() does it where that fails."""
        runs = any(h.running and (h.job_id, h.claim) == (job, claim) for h in self.shared.read())
        if runs and job not in self.cancelling:
            self.shared.cancel(job)
            self.cancelling[job] = clock.monotonic() + CANCEL_GRACE
            self.signal(CANCEL_SIGNAL)

    def enforce(self, now: float, interrupt: bool) -> None:
        """Kill the process if a job has outlived its time, or if all are to be interrupted."""
        begun = [job for job in self.shared.read() if job.begun]
        running = [job for job in begun if job.running]
        for job in self.cancelling.keys() - {job.job_id for job in running}:
            # It ended by itself in the meantime.
            del self.cancelling[job]
        late = next((job.job_id for job in running if now > job.kill_at), None)
        stubborn = next((job for job, until in self.cancelling.items() if now > until), None)
        if late is not None:
            self.kill(late, DeathCause.TIMEOUT)
        elif stubborn is not None:
            self.kill(stubborn, DeathCause.CANCELLED)
        elif not self.shared.has_worked and now > self.started_at + START_SECONDS:
            self.kill(None, DeathCause.CRASH, HANGS)
        elif interrupt:
            self.kill(begun[0].job_id if begun else None, DeathCause.INTERRUPTED)

    def kill(self, job: UUID | None, cause: DeathCause, why: str = "") -> None:
        """End the process for the sake of this job. why: for the log, if the cause does not say."""
        if self.killed:
            return
        self.killed, self.kill_reason = True, (job, cause) if job else None
        of_job = f" in job {job}" if job else ""
        logger.warning("Killing job process %d: %s%s.", self.pid, why or cause, of_job)
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it is there."""
        signal_process(self.pid, number)
