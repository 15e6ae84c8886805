"""The runs beside the main thread of a job process, as its threads share them.

The main thread begins them, the executors note their end, the settling thread lets them go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from uuid import UUID

from ...core import clock
from ...models import Job
from ..config import WorkerConfig
from ..shared_state import SharedState
from . import Executor, Runner

LOOK_EVERY = 0.2


@dataclass(eq=False, slots=True)
class ActiveRun:
    """One run beside the main thread.

    entry: in the shared state. kill_at: when the supervisor ends it at the latest.
    """

    executor: Executor
    runner: Runner
    entry: int
    kill_at: float


class ActiveRuns:
    """What runs beside the main thread, and what of it has ended and is not settled.

    running: all of them. Not by job: one that is to run again at once may come before its last run
    is released.
    """

    def __init__(self, config: WorkerConfig, shared: SharedState) -> None:
        self._shared, self._kill_after = shared, config.options.kill_after
        self.running: set[ActiveRun] = set()
        self._completed: list[ActiveRun] = []
        self._changed = threading.Condition()

    def all(self) -> list[ActiveRun]:
        """A copy of `running`, for other threads change that."""
        return list(self.running)

    def first(self) -> UUID | None:
        """One of the jobs."""
        return next((run.runner.job.pk for run in self.all()), None)

    def entry_of(self, job: Job) -> int | None:
        """The entry of the run of this very row; None if it does not run beside."""
        return next((run.entry for run in self.all() if run.runner.job is job), None)

    def count(self, executor: Executor) -> int:
        """How many there are of one executor."""
        return sum(run.executor is executor for run in self.all())

    def begin(self, executor: Executor, runner: Runner) -> ActiveRun:
        """A job that the main thread has claimed is to run in another one."""
        job = runner.job
        run = ActiveRun(executor, runner, self._shared.detach(job.pk), 0.0)
        run.kill_at = self.let_run(run)
        # Before it is given to its thread: it may end at once.
        with self._changed:
            self.running.add(run)
            self._changed.notify_all()
        return run

    def let_run(self, run: ActiveRun) -> float:
        """Give it the time of an attempt from now on. Returns when the supervisor ends it."""
        job = run.runner.job
        kill_at = clock.monotonic() + job.timeout + self._kill_after
        self._shared.runs_at(run.entry, job.claims, kill_at)
        return kill_at

    def put_off(self, run: ActiveRun, until: float) -> None:
        """Let the supervisor end it at another time, unless it has ended by itself."""
        with self._changed:
            if run not in self._completed:
                self._shared.runs_at(run.entry, run.runner.job.claims, until)

    def complete(self, run: ActiveRun) -> None:
        """It has ended, and is to be settled; called by its own thread, or by the event loop."""
        with self._changed:
            # It may be long until it is settled, for the database may be away.
            self._shared.ended_at(run.entry)
            self._completed.append(run)
            self._changed.notify_all()

    def completed(self) -> list[ActiveRun]:
        """What has ended since it was asked last. Waits a moment, or until something runs."""
        with self._changed:
            if not self._completed:
                self._changed.wait(LOOK_EVERY if self.running else None)
            completed, self._completed = self._completed, []
            return completed

    def release(self, runs: Collection[ActiveRun]) -> None:
        """These are settled: there is room for as many others."""
        with self._changed:
            self.running.difference_update(runs)
            self._changed.notify_all()

    def wait(self, until: Callable[[], bool], at_most: float = inf) -> None:
        """Wait until something is so that the end of a job may bring about; seconds at most."""
        deadline = clock.monotonic() + at_most
        with self._changed:
            while not until() and (left := deadline - clock.monotonic()) > 0:
                self._changed.wait(min(left, LOOK_EVERY))
