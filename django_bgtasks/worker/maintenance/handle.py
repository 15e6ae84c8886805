"""The supervisor's side of maintenance: keeps its process alive, gives orders, reads reports."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ...core import clock
from ...core.messages import Reason
from ..config import WorkerConfig
from ..process_handle import LONGEST_BACKOFF, NO_ACCIDENT, QUICK_SECONDS
from ..processes import LastError, end_of, fork, signal_process
from ..shared_state import SharedState
from .pipes import Pipe
from .process import MaintenanceProcess

logger = logging.getLogger("django_bgtasks.worker")
# Without a heartbeat for this share of `dead_after`, the claims are about to be someone else's.
SILENT_SHARE = 0.8
# Maintenance that is silent for so many times `dead_after` hangs, say on a half-open connection.
STUCK_SHARE = 3.0
END_SECONDS = 5.0


class MaintenanceHandle:
    """The maintenance process of one worker, one after another.

    shared_states: of the job processes. pids: of those that are alive.
    """

    def __init__(self, shared_states: Sequence[SharedState]) -> None:
        self.shared_states = list(shared_states)
        self.pids: list[int] = []
        self.pid, self.started_at, self.start_at = 0, 0.0, 0.0
        self.quick_deaths, self.last_error = 0, LastError()
        self.trouble: Reason | None = None
        self.orders, self.reports = Pipe(), Pipe()
        self.unsettled: dict[int, dict[str, object]] = {}
        self.deaths = 0
        # No process may claim a job before this worker is known: it would look like an orphan's.
        self.last_beat = float("-inf")

    def start(self, config: WorkerConfig) -> None:
        """Fork the process, and tell it of all deaths that are not settled."""
        for pipe in (self.orders, self.reports):
            pipe.close()
        self.orders, self.reports = Pipe(), Pipe()
        # All of them before it begins to settle the first: one may explain the claim of another.
        for number, death in self.unsettled.items():
            self.orders.send("died", number=number, **death)
        self.started_at = clock.monotonic()
        try:
            self.pid = fork(lambda: self._main(config), self.last_error)
        except OSError as error:
            self._start_later(f"cannot be started: {error}")
            return
        self.orders.keep_writer()
        self.reports.keep_reader()
        self.send_processes(self.pids)

    def reap(self, status: int) -> None:
        """It has ended, and never should."""
        self.pid = 0
        self._start_later(f"has ended ({end_of(status)})")

    def keep_alive(self, config: WorkerConfig) -> None:
        """Start it again if it is time."""
        if not self.pid and clock.monotonic() >= self.start_at:
            self.start(config)

    @property
    def ends_at_once(self) -> bool:
        """Whether its processes end as soon as they start, again and again."""
        is_young = clock.monotonic() - self.started_at < QUICK_SECONDS
        return self.quick_deaths >= NO_ACCIDENT and (not self.pid or is_young)

    def _start_later(self, why: str) -> None:
        """At once the first time; where it ends again and again, later and without a word."""
        now = clock.monotonic()
        self.quick_deaths = self.quick_deaths + 1 if now - self.started_at < QUICK_SECONDS else 0
        if self.quick_deaths < 2:
            self.start_at = now
            logger.warning("Maintenance %s; starting it again.", why)
        else:
            self.start_at = now + min(0.1 * 2**self.quick_deaths, LONGEST_BACKOFF)
            if self.quick_deaths == NO_ACCIDENT:
                logger.error("Maintenance %s, again and again; no job runs without it.", why)

    def _main(self, config: WorkerConfig) -> None:
        self.orders.keep_reader()
        self.reports.keep_writer()
        states, beat = self.shared_states, self.last_beat
        MaintenanceProcess(config, self.orders, self.reports, states, beat).main()

    def send_processes(self, pids: list[int]) -> None:
        """Say which job processes are alive, or why there are none."""
        self.pids = pids
        trouble = asdict(self.trouble) if self.trouble else None
        self.orders.send("processes", pids=pids, trouble=trouble)

    def send_death(self, pid: int, jobs: Sequence[Sequence[object]], end: Reason) -> None:
        """Order the settlement of what a dead job process held."""
        self.deaths += 1
        death: dict[str, object] = {"pid": pid, "jobs": jobs, "end": asdict(end)}
        self.unsettled[self.deaths] = death
        self.orders.send("died", number=self.deaths, **death)

    def read_reports(self) -> list[dict[str, Any]]:
        """Note the beats and settlements that it reports, and return what else it says."""
        self.orders.flush()
        others = []
        for report in self.reports.receive() or []:
            if report["kind"] == "beat":
                self.last_beat = max(self.last_beat, report["at"])
            elif report["kind"] == "settled":
                self.unsettled.pop(report["number"], None)
            else:
                others.append(report)
        return others

    def is_silent(self, dead_after: float) -> bool:
        """Whether others may call this worker dead any moment."""
        return clock.monotonic() - self.last_beat > SILENT_SHARE * dead_after

    def kill_if_stuck(self, dead_after: float) -> None:
        """End a process that hangs; it is started again when it is reaped."""
        if clock.monotonic() - max(self.last_beat, self.started_at) > STUCK_SHARE * dead_after:
            signal_process(self.pid, signal.SIGKILL)

    def forget(self) -> None:
        """End the process and drop all orders: the worker goes on under another id."""
        if self.pid:
            signal_process(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.unsettled.clear()
        self.pids = []
        self.last_beat = float("-inf")

    def end(self, config: WorkerConfig) -> None:
        """Maintenance ends last: it settles what the stop has interrupted."""
        if not self.pid:
            self.start(config)
        if not self.pid:
            return
        deadline = clock.monotonic() + END_SECONDS
        while self.unsettled and clock.monotonic() < deadline:
            self.read_reports()
            time.sleep(0.02)
        self.orders.send("stop")
        while clock.monotonic() < deadline:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
            time.sleep(0.02)
        signal_process(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
