"""The supervisor: keeps one maintenance process and N job processes alive, and ends what must end.

It touches neither the database nor Redis, so that nothing is shared across its forks.
"""

from __future__ import annotations

import logging
import os
import select
import signal
from contextlib import suppress
from dataclasses import replace
from types import FrameType
from uuid import UUID

from ..core import clock
from . import unix_signals
from .config import WorkerConfig
from .heartbeat_file import HeartbeatFile
from .job_process import OUT_OF_WORK
from .maintenance.handle import MaintenanceHandle
from .once_flag import OnceFlag
from .process_handle import ProcessHandle
from .processes import end_of

logger = logging.getLogger("django_bgtasks.worker")
LOOK_EVERY = 0.2
# A terminal and whoever has started the worker may tell it of one Ctrl-C twice.
SAME_REQUEST = 0.3
# What is left of the grace after a second request.
SHORT_GRACE = 1.0


class Supervisor:
    """One `bgworker`, from its start to its end."""

    def __init__(self, config: WorkerConfig, heartbeat: HeartbeatFile | None = None) -> None:
        self.config, self.heartbeat = config, heartbeat
        self.handles = [ProcessHandle() for _ in range(config.processes)]
        self.maintenance = MaintenanceHandle([handle.shared for handle in self.handles])
        self.once_flag = OnceFlag()
        self.stop_at: float | None = None
        self.asked_at: float | None = None
        self.asked_again = False
        self.burst_is_over = False
        self.wake_reader, self.wake_writer = os.pipe()

    def run(self) -> int:
        """Keep the job processes alive until asked to stop. Returns the exit code: 0."""
        self._listen_for_signals()
        self.maintenance.start(self.config)
        while True:
            self._reap()
            if self.asked_at is not None:
                self.stop()
            if self.stopping and not self._alive():
                break
            self.maintenance.keep_alive(self.config)
            self._read_reports()
            self._start_processes()
            self._note_trouble()
            self._enforce()
            self._show_health()
            self._wait()
        self.maintenance.end(self.config)
        return 0

    @property
    def stopping(self) -> bool:
        """Whether no new job process is started any more."""
        return self.stop_at is not None or self.burst_is_over

    def stop(self) -> None:
        """Let the job processes finish their jobs; what still runs after the grace is released.

        Who asks a second time does not want to wait for that.
        """
        if self.stop_at is None:
            self.stop_at = clock.monotonic() + self.config.grace
            logger.info(
                "Stopping: running jobs have %g s to finish. Asked again, %g s.",
                self.config.grace,
                min(SHORT_GRACE, self.config.grace),
            )
            for handle in self._alive():
                handle.signal(signal.SIGTERM)
        if self.asked_again and self.stop_at > clock.monotonic() + SHORT_GRACE:
            self.stop_at = clock.monotonic() + SHORT_GRACE
            logger.info("Asked again to stop: what runs in %g s is released.", SHORT_GRACE)

    def _listen_for_signals(self) -> None:
        for end in (self.wake_reader, self.wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        unix_signals.install()
        unix_signals.listen(self._note_stop)
        signal.signal(signal.SIGCHLD, unix_signals.do_nothing)

    def _note_stop(self, signum: int, frame: FrameType | None) -> None:
        now = clock.monotonic()
        if self.asked_at is None:
            self.asked_at = now
        elif now - self.asked_at > SAME_REQUEST:
            self.asked_again = True

    def _wait(self) -> None:
        """Until a signal or a report of maintenance comes, or it is time to look around."""
        readers = [self.wake_reader]
        if self.maintenance.pid:
            readers.append(self.maintenance.reports.reader)
        select.select(readers, [], [], LOOK_EVERY)
        with suppress(BlockingIOError):
            os.read(self.wake_reader, 4096)

    def _alive(self) -> list[ProcessHandle]:
        return [handle for handle in self.handles if handle.pid]

    def _send_processes(self) -> None:
        self.maintenance.send_processes([handle.pid for handle in self._alive()])

    def _is_silent(self) -> bool:
        return self.maintenance.is_silent(self.config.options.dead_after)

    def _start_processes(self) -> None:
        now = clock.monotonic()
        for handle in self.handles:
            if handle.pid or self.stopping or now < handle.start_at or self._is_silent():
                continue
            if self.config.burst and self.maintenance.unsettled:
                # The job of the one that died is not queued again yet.
                continue
            handle.start(self.config, self.once_flag)
            self._send_processes()

    def _note_trouble(self) -> None:
        """Say once, here and by maintenance, when job processes do not start, and when they do."""
        for handle in self.handles:
            handle.look()
        trouble = next((handle.trouble for handle in self.handles if handle.trouble), None)
        if bool(trouble) == bool(self.maintenance.trouble):
            return
        if trouble:
            logger.error("Job processes end as soon as they start, and jobs wait: %s", trouble)
        else:
            logger.info("Job processes start again.")
        self.maintenance.trouble = trouble
        self._send_processes()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.maintenance.pid:
                self.maintenance.reap(status)
            for handle in self.handles:
                if handle.pid == pid:
                    self._reaped(handle, status)

    def _reaped(self, handle: ProcessHandle, status: int) -> None:
        pid, code = handle.pid, os.waitstatus_to_exitcode(status)
        jobs = handle.reap(status)
        if self.config.burst:
            # A job whose process died is queued again, and somebody must be there to run it.
            nothing_left = not self.maintenance.unsettled and not jobs
            self.burst_is_over = nothing_left and code == OUT_OF_WORK
        if not handle.ended_well(jobs, code):
            died = [[str(job.job_id), job.claim, handle.why(job)] for job in jobs]
            self.maintenance.send_death(pid, died, end_of(status))
            # A death with jobs is told when they are settled, and one at the start after a few.
            if not jobs and handle.shared.has_worked:
                text = "Job process %d had no job and has ended (%s); another one takes its place."
                logger.warning(text, pid, end_of(status))
        # Reported first: maintenance takes a claim that it sees in neither place for nobody's.
        handle.shared.clear()
        self._send_processes()

    def _read_reports(self) -> None:
        for report in self.maintenance.read_reports():
            if report["kind"] == "cancel":
                for handle in self._alive():
                    handle.cancel(UUID(report["job"]), report["claim"])
            elif report["kind"] == "forgotten":
                self._restart_with_new_id()

    def _enforce(self) -> None:
        """Kill what has outlived its time."""
        now = clock.monotonic()
        self.maintenance.kill_if_stuck(self.config.options.dead_after)
        interrupt = (self.stop_at is not None and now > self.stop_at) or self._is_silent()
        for handle in self._alive():
            handle.enforce(now, interrupt)

    def _show_health(self) -> None:
        """Not while processes end as soon as they start: to start the worker again may help.

        A database that is away changes nothing: a new worker could not reach it either.
        """
        is_well = not (self.maintenance.ends_at_once or any(h.trouble for h in self.handles))
        if self.heartbeat is not None and is_well:
            self.heartbeat.touch()

    def _restart_with_new_id(self) -> None:
        """Others have called this worker dead and rescued its jobs: go on under another id."""
        logger.warning("This worker was silent and called dead; it starts again with a new id.")
        for handle in self._alive():
            handle.signal(signal.SIGKILL)
        for handle in self._alive():
            os.waitpid(handle.pid, 0)
            handle.pid = 0
        self.maintenance.forget()
        self.config = replace(self.config, worker=clock.new_id())
        self.maintenance.start(self.config)
