"""The thread that settles what runs beside the main thread, and enforces its limits.

The main thread may wait in Redis meanwhile. Each run has its own claim, its own entry in the shared
state, its own timeout and cancellation; those that end together are settled together.
"""

from __future__ import annotations

import logging
import os
import threading
from math import inf

from ...core import clock
from ...jobs.execute import Run, settle_runs
from ...ledger.own_transactions import own_transactions_here
from ...sandbox.call import interrupt_overdue
from ...sandbox.connections import give_back_connections
from ...sandbox.restore import restore_log
from ..config import WorkerConfig
from ..shared_state import SharedState
from . import Runner, Settler
from .active_runs import ActiveRun, ActiveRuns
from .event_loop import EventLoopExecutor

logger = logging.getLogger("django_bgtasks.worker")


class SettlingThread:
    """It starts with the first run."""

    def __init__(
        self,
        config: WorkerConfig,
        shared: SharedState,
        settler: Settler,
        runs: ActiveRuns,
        event_loop: EventLoopExecutor,
    ) -> None:
        self._config, self._shared, self._settler = config, shared, settler
        self._runs, self._event_loop = runs, event_loop
        self._blocking: Runner | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it, if it does not run yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="settling", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        own_transactions_here()
        while True:
            completed = self._runs.completed()
            try:
                if completed:
                    self._settle(completed)
                self._enforce_limits()
            except BaseException:
                # As where the main thread fails: the supervisor sees to what this process held.
                logger.exception("The jobs beside the main thread could not be looked after.")
                os._exit(1)

    def _settle(self, completed: list[ActiveRun]) -> None:
        ended = [run for active in completed if (run := self._end(active)) is not None]
        settled = settle_runs(ended, self._config.using)
        for active in completed:
            self._shared.free(active.entry)
        restore_log()
        self._settler.announce([active.runner.job.pk for active in completed], settled)
        # Others may need the connection before the next one ends.
        give_back_connections()
        self._runs.release(completed)
        self._settler.fetcher.notify()

    def _end(self, active: ActiveRun) -> Run | None:
        self._runs.let_run(active)
        run = active.runner.end()
        if run is not None and run.open:
            self._shared.ended_at(active.entry)
        return run

    def _enforce_limits(self) -> None:
        interrupt_overdue()
        runs = self._runs.all()
        for active in runs:
            if self._shared.is_cancelled_at(active.entry):
                active.runner.cancel()
        coroutines = [active for active in runs if active.executor is self._event_loop]
        if coroutines:
            self._postpone_others(coroutines)
        else:
            self._blocking = None

    def _postpone_others(self, coroutines: list[ActiveRun]) -> None:
        """While a coroutine blocks the loop the others cannot heed their timeouts.

        The supervisor is to kill the process for the sake of the one that blocks, and of no other.
        """
        blocking = self._event_loop.blocking_runner()
        # What a job has left behind on the loop has no time at which it is killed.
        if not any(active.runner is blocking for active in coroutines):
            blocking = None
        before, self._blocking = self._blocking, blocking
        if blocking is None and before is None:
            return
        for active in coroutines:
            if blocking not in (None, active.runner):
                self._runs.put_off(active, inf)
            elif blocking is None or before not in (None, blocking):
                # One that blocks it right after another was put off for that one's sake.
                later = max(active.kill_at, clock.monotonic() + self._config.options.kill_after)
                self._runs.put_off(active, later)
