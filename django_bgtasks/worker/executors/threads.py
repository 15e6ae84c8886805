"""Blocking jobs that wait side by side, each in a thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from ...jobs.execute import Run, run_claimed
from ...models import Job
from ...sandbox.call import cancel_thread
from ...sandbox.connections import give_back_connections
from ...sandbox.restore import refresh_connections
from ..config import WorkerConfig
from . import Executor, Runner
from .active_runs import ActiveRun, ActiveRuns


class ThreadExecutor(Executor):
    """Runs jobs in as many threads as were ever needed at once, at most `config.threads`."""

    def __init__(self, config: WorkerConfig, runs: ActiveRuns) -> None:
        self._most, self._using, self._runs = config.threads, config.using, runs
        self._pool = ThreadPoolExecutor(config.threads, thread_name_prefix="jobs")

    def capacity(self, rq_queue: str = "") -> int:
        return self._most - self._runs.count(self)

    def submit(self, jobs: list[Job]) -> list[Job]:
        room = self.capacity()
        for job in jobs[:room]:
            runner = ThreadRunner(job, self._using)
            self._pool.submit(self._run, runner, self._runs.begin(self, runner))
        return jobs[room:]

    def _run(self, runner: ThreadRunner, run: ActiveRun) -> None:
        runner.main()
        self._runs.complete(run)


class ThreadRunner(Runner):
    """One attempt in a thread."""

    def __init__(self, job: Job, using: str) -> None:
        self.job, self._using = job, using
        self._thread: int | None = None
        self._leaving = threading.Lock()
        self._run: Run | None = None
        self._error: BaseException | None = None

    def main(self) -> None:
        """Run the job in this thread, with the thread's own connections."""
        self._thread = threading.get_ident()
        try:
            refresh_connections()
            self._run = run_claimed(self.job, self._using, grouped=True)
            give_back_connections()
        except BaseException as error:
            # The thread goes on; end() raises it.
            self._error = error
        finally:
            with self._leaving:
                self._thread = None

    def cancel(self) -> None:
        # The thread must not get to its next job meanwhile: that is not to be cancelled.
        with self._leaving:
            if self._thread is not None:
                cancel_thread(self._thread)

    def end(self) -> Run | None:
        """What became of it; None if the claim was lost. Raises what its settlement raised."""
        if self._error is not None:
            raise self._error
        return self._run
