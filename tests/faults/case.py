"""A case of the fault plan: its jobs, its workers, what it measured, and its end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django_bgtasks import JobResult
from django_bgtasks.core.states import FINAL
from django_bgtasks.models import Attempt, Job
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from .effects import VARIABLE as EFFECTS
from .effects import EffectsLog
from .oracle import judge
from .report import Entry, record
from .strikes import Strike

LONGEST = 60.0
# A worker that is called dead soon. The defaults are 3 s and 10 s.
SOON = {"BGTASKS_TEST_OPTIONS": json.dumps({"beat_every": 0.5, "dead_after": 4.0})}


class Case:
    """What a test of the fault plan holds in its hands; the oracle judges it when the test ends."""

    def __init__(self, start: WorkerFactory, effects: EffectsLog) -> None:
        self.effects = effects
        self.entry: Entry | None = None
        self.committed: list[str] = []
        self.workers: list[WorkerProcess] = []
        self.may_end: set[int] = set()
        self._start = start

    def row(self, section: str, injected: str, times: int = 1) -> None:
        """The row of the table in which this case is counted, and how often it struck."""
        self.entry = Entry(section, injected, times=times)

    def worker(
        self,
        *arguments: object,
        strike: Strike | None = None,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> WorkerProcess:
        """Start a worker; one with a strike may be killed by it. within: see WorkerProcess."""
        environ = {EFFECTS: str(self.effects.path), **(strike.env if strike else {}), **(env or {})}
        worker = self._start(*arguments, env=environ, within=within)
        self.workers.append(worker)
        if strike and strike.victim in ("supervisor", "tree"):
            self.may_end.add(worker.pid)
        return worker

    def drain(self, *arguments: object) -> None:
        """Run all that is queued, in a worker that ends then."""
        worker = self.worker("--burst", *arguments)
        self.may_end.add(worker.pid)
        assert worker.wait(60) == 0

    def enqueue(self, task: Any, *args: Any, **options: Any) -> JobResult[Any]:
        """Enqueue a job that must not be lost. options: for `.using()`."""
        result: JobResult[Any] = (task.using(**options) if options else task).enqueue(*args)
        self.committed.append(result.id)
        return result

    def enqueue_many(self, task: Any, calls: list[Any]) -> list[JobResult[Any]]:
        """Enqueue many of them."""
        results: list[JobResult[Any]] = task.enqueue_many(calls)
        self.committed += [result.id for result in results]
        return results

    def kill(self, worker: WorkerProcess) -> None:
        """SIGKILL to all processes of a worker, as when the power fails."""
        self.may_end.add(worker.pid)
        worker.kill()

    def stop(self, worker: WorkerProcess, timeout: float = 40.0) -> int:
        """SIGTERM to the supervisor; its exit code."""
        self.may_end.add(worker.pid)
        return worker.stop(timeout)

    def struck_at(self, timeout: float = 20.0) -> float:
        """Wait for the strike; the time of it."""
        return wait_until(lambda: self.effects.of("struck"), timeout, "the strike")[0].at

    @contextmanager
    def recovers(self, within: float) -> Iterator[None]:
        """What the block waits for is the recovery; it must not take longer than `within` s."""
        start = time.monotonic()
        yield
        self.recovered(time.monotonic() - start, within)

    def recovered(self, seconds: float, within: float) -> None:
        """Count a recovery that took so long, and hold it against its bound (I5).

        The whole plan holds the bound itself; with every `pytest`, beside other tests, twice of it.
        """
        assert self.entry is not None, "Call case.row() first: a recovery needs its row."
        self.entry.recovery.append(seconds)
        slack = 1 if os.environ.get("BGTASKS_TEST_FAULTS") == "all" else 2
        bound = slack * within
        assert seconds <= bound, f"I5 recovered after {seconds:.2f} s, not within {bound:g} s"

    def now(self) -> float:
        """The clock of the effects log."""
        return time.monotonic()

    def wait_until(self, condition: Callable[[], Any], timeout: float = 20.0) -> Any:
        """Wait for a condition; see tests.waiting."""
        return wait_until(condition, timeout)

    def wait_final(self, timeout: float = LONGEST) -> None:
        """Wait until all committed jobs are final."""
        wait_until(lambda: not self.unfinished(), timeout, "all jobs are final")

    def unfinished(self) -> list[str]:
        """The committed jobs that are not final."""
        live = Job.objects.filter(pk__in=self.committed).exclude(state__in=sorted(FINAL))
        return [str(pk) for pk in live.values_list("pk", flat=True)]

    def job(self, result: Any) -> Job:
        """The job's row as it is now."""
        return Job.objects.get(pk=result.id)

    def outcomes(self, result: Any) -> list[str]:
        """The outcomes of the job's attempts that did not succeed, in order."""
        rows = Attempt.objects.filter(job=result.id).order_by("attempt")
        return list(rows.values_list("outcome", flat=True))

    def close(self) -> None:
        """The end of every case: the oracle's verdict, which the report keeps."""
        verdict = judge(self.committed, self.effects)
        verdict.faults += [
            f"I6 worker {worker.pid} ended untold ({worker.returncode}):\n{worker.output}"
            for worker in self.workers
            if worker.returncode is not None and worker.pid not in self.may_end
        ]
        if self.entry is not None:
            self.entry.jobs = verdict.jobs
            self.entry.lost, self.entry.duplicates = len(verdict.lost), len(verdict.duplicates)
            self.entry.again = verdict.again
            record(self.entry)
        verdict.confirm()
