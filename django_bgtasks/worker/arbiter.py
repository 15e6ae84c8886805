"""The arbiter: keeps one upkeep child and N job children alive, and ends what must end.

It touches neither the database nor Redis, so that nothing is shared across its forks.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from dataclasses import dataclass, field, replace
from functools import partial
from types import FrameType
from uuid import UUID

from ..core import clock
from ..flow.deadline import CANCEL_SIGNAL
from .child import OUT_OF_WORK, SPENT, Child
from .pipes import Pipe
from .plan import Plan
from .processes import describe_end, fork
from .slots import Held, Slot
from .upkeep import Upkeep

logger = logging.getLogger("django_bgtasks.worker")

TICK = 0.2
# Without a heartbeat for this share of `dead_after`, the claims are about to be someone else's.
SILENT_SHARE = 0.8
# An upkeep that is silent for so many times `dead_after` hangs, say on a half-open connection.
STUCK_SHARE = 3.0
CANCEL_GRACE = 2.0
LONGEST_BACKOFF = 5.0


@dataclass(slots=True)
class JobChild:
    """One job child as the arbiter sees it. `doom`: what it was killed for, and in which job."""

    slot: Slot = field(default_factory=Slot)
    pid: int = 0
    born: float = 0.0
    quick_deaths: int = 0
    start_at: float = 0.0
    doom: tuple[UUID, str] | None = None
    cancel_at: float | None = None
    killed: bool = False


class Arbiter:
    """One `bgworker`, from its start to its end."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.children = [JobChild() for _ in range(plan.processes)]
        self.upkeep_pid, self.upkeep_born = 0, 0.0
        self.orders, self.reports = Pipe(), Pipe()
        self.unsettled: dict[int, dict[str, object]] = {}
        self.deaths = 0
        # No child may claim a job before this worker is known: it would look like an orphan's.
        self.last_beat = float("-inf")
        self.stop_at: float | None = None
        self.asked_to_stop = False
        self.burst_is_over = False
        self.wake_reader, self.wake_writer = os.pipe()

    def run(self) -> int:
        """Keep the children alive until asked to stop. Returns the exit code: 0."""
        self._listen_for_signals()
        self._start_upkeep()
        while True:
            self._reap()
            if self.asked_to_stop:
                self.stop()
            if self._is_over():
                break
            self.orders.flush()
            self._read_reports()
            self._start_children()
            self._enforce()
            select.select([self.wake_reader, self.reports.reader], [], [], TICK)
            self._drain_wake()
        self._end_upkeep()
        return 0

    @property
    def stopping(self) -> bool:
        """Whether no new child is started any more."""
        return self.stop_at is not None or self.burst_is_over

    def stop(self) -> None:
        """Let the children finish their jobs; what still runs after the grace is released."""
        if self.stop_at is not None:
            return
        self.stop_at = clock.monotonic() + self.plan.grace
        logger.info("Stopping: running jobs have %g s to finish.", self.plan.grace)
        for child in self._alive():
            _signal(child.pid, signal.SIGTERM)

    def _listen_for_signals(self) -> None:
        for end in (self.wake_reader, self.wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)

    def _note_stop(self, signum: int, frame: FrameType | None) -> None:
        self.asked_to_stop = True

    def _drain_wake(self) -> None:
        try:
            os.read(self.wake_reader, 4096)
        except BlockingIOError:
            return

    def _alive(self) -> list[JobChild]:
        return [child for child in self.children if child.pid]

    def _is_over(self) -> bool:
        return self.stopping and not self._alive()

    def _start_children(self) -> None:
        now = clock.monotonic()
        for child in self.children:
            if child.pid or self.stopping or now < child.start_at or self._is_silent():
                continue
            if self.plan.burst and self.unsettled:
                # The job of the one that died is not queued again yet.
                continue
            child.doom, child.cancel_at, child.killed, child.born = None, None, False, now
            child.slot.clear()
            child.pid = fork(partial(self._child_main, child))
            self._tell_children()

    def _child_main(self, child: JobChild) -> None:
        Child(self.plan, child.slot, speaks=child is self.children[0]).main()

    def _start_upkeep(self) -> None:
        for pipe in (self.orders, self.reports):
            pipe.close()
        self.orders, self.reports = Pipe(), Pipe()
        # All of them before it begins to settle the first: one may explain the claim of another.
        for number, death in self.unsettled.items():
            self.orders.send("died", number=number, **death)
        self.upkeep_pid, self.upkeep_born = fork(self._upkeep_main), clock.monotonic()
        self.orders.keep_writer()
        self.reports.keep_reader()
        self._tell_children()

    def _upkeep_main(self) -> None:
        self.orders.keep_reader()
        self.reports.keep_writer()
        slots = [child.slot for child in self.children]
        Upkeep(self.plan, self.orders, self.reports, slots, self.last_beat).main()

    def _tell_children(self) -> None:
        self.orders.send("children", pids=[child.pid for child in self._alive()])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.upkeep_pid:
                logger.warning("Upkeep %s; starting it again.", describe_end(status))
                self._start_upkeep()
            for child in self.children:
                if child.pid == pid:
                    self._bury(child, status)

    def _bury(self, child: JobChild, status: int) -> None:
        held, pid, child.pid = child.slot.read(), child.pid, 0
        code = os.waitstatus_to_exitcode(status)
        idle = not any(job.begun for job in held)
        quick = clock.monotonic() - child.born < 1.0 and idle and code != SPENT
        child.quick_deaths = child.quick_deaths + 1 if quick else 0
        backoff = min(0.1 * 2**child.quick_deaths, LONGEST_BACKOFF) if quick else 0.0
        child.start_at = clock.monotonic() + backoff
        if self.plan.burst:
            # A job whose process died is queued again, and somebody must be there to run it.
            self.burst_is_over = not self.unsettled and not held and code == OUT_OF_WORK
        if held or code not in (OUT_OF_WORK, SPENT):
            self._report_death(pid, held, child.doom, f"The process {describe_end(status)}.")
        # Told first: upkeep takes a claim that it sees in neither place for nobody's.
        child.slot.clear()
        self._tell_children()

    def _report_death(
        self, pid: int, held: list[Held], doom: tuple[UUID, str] | None, detail: str
    ) -> None:
        self.deaths += 1
        death: dict[str, object] = {
            "pid": pid,
            "jobs": [[str(job.job), job.claim, _why(job, doom)] for job in held],
            "detail": detail,
        }
        self.unsettled[self.deaths] = death
        self.orders.send("died", number=self.deaths, **death)

    def _read_reports(self) -> None:
        for report in self.reports.receive() or []:
            if report["kind"] == "beat":
                self.last_beat = max(self.last_beat, report["at"])
            elif report["kind"] == "settled":
                self.unsettled.pop(report["number"], None)
            elif report["kind"] == "cancel":
                self._cancel(UUID(report["job"]), report["claim"])
            elif report["kind"] == "forgotten":
                self._begin_new_life()

    def _cancel(self, job: UUID, claim: int) -> None:
        for child in self._alive():
            runs = any(h.begun and (h.job, h.claim) == (job, claim) for h in child.slot.read())
            if runs and child.cancel_at is None:
                child.slot.cancel(job)
                child.cancel_at = clock.monotonic() + CANCEL_GRACE
                child.doom = (job, "cancelled")
                _signal(child.pid, CANCEL_SIGNAL)

    def _is_silent(self) -> bool:
        silent_after = SILENT_SHARE * self.plan.options.dead_after
        return clock.monotonic() - self.last_beat > silent_after

    def _enforce(self) -> None:
        """Kill what has outlived its time."""
        now = clock.monotonic()
        if now - max(self.last_beat, self.upkeep_born) > STUCK_SHARE * self.plan.options.dead_after:
            # It is started again when it is reaped.
            _signal(self.upkeep_pid, signal.SIGKILL)
        for child in self._alive():
            begun = [held for held in child.slot.read() if held.begun]
            if child.doom and child.doom[0] not in [held.job for held in begun]:
                # It ended by itself in the meantime.
                child.doom = child.cancel_at = None
            late = next((held.job for held in begun if now > held.kill_at), None)
            if late is not None:
                self._kill(child, late, "timeout")
            elif child.doom and child.cancel_at is not None and now > child.cancel_at:
                self._kill(child, child.doom[0], "cancelled")
            elif (self.stop_at is not None and now > self.stop_at) or self._is_silent():
                self._kill(child, begun[0].job if begun else None, "interrupted")

    def _kill(self, child: JobChild, job: UUID | None, why: str) -> None:
        if child.killed:
            return
        child.killed, child.doom = True, (job, why) if job else None
        logger.warning("Killing child %d: %s%s.", child.pid, why, f" in job {job}" if job else "")
        _signal(child.pid, signal.SIGKILL)

    def _begin_new_life(self) -> None:
        """Others have called this worker dead and rescued its jobs: go on under another id."""
        logger.warning("This worker was silent and called dead; it starts again with a new id.")
        for child in self._alive():
            _signal(child.pid, signal.SIGKILL)
        _signal(self.upkeep_pid, signal.SIGKILL)
        for child in self._alive():
            os.waitpid(child.pid, 0)
            child.pid = 0
        os.waitpid(self.upkeep_pid, 0)
        self.unsettled.clear()
        self.last_beat = float("-inf")
        self.plan = replace(self.plan, worker=clock.new_id())
        self._start_upkeep()

    def _end_upkeep(self) -> None:
        """Upkeep ends last: it settles what the stop has interrupted."""
        deadline = clock.monotonic() + 5.0
        while self.unsettled and clock.monotonic() < deadline:
            self._read_reports()
            time.sleep(0.02)
        self.orders.send("stop")
        while clock.monotonic() < deadline:
            if os.waitpid(self.upkeep_pid, os.WNOHANG)[0]:
                return
            time.sleep(0.02)
        _signal(self.upkeep_pid, signal.SIGKILL)
        os.waitpid(self.upkeep_pid, 0)


def _why(held: Held, doom: tuple[UUID, str] | None) -> str:
    """Only the job that ran is charged, and of several only the one the child was killed for."""
    if not held.begun:
        return "unbegun"
    if doom is None:
        return "crash"
    return doom[1] if held.job == doom[0] else "interrupted"


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
