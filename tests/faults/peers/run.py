"""One case of one system: its workers and jobs, what is measured, and its entry."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from testproject.servers import PostgresServer, RedisServer
from tests.faults.effects import VARIABLE as EFFECTS
from tests.faults.effects import EffectsLog
from tests.faults.report import Entry
from tests.waiting import wait_until

from .adapter import Adapter, State
from .processes import PeerWorker

# So long may a system take to recover; later is "not within 60 s".
LIMIT = 60.0
START_SECONDS = 60.0
POLL_SECONDS = 0.2
DONE = {State.FINISHED, State.FAILED}
# A job in one of these states that has not run will never run.
NOTHING_TO_DO = {State.FINISHED, State.GONE}


@dataclass
class Run:
    """What a case holds in its hands.

    keys: the jobs that must not be lost; never: how many others there were, which must not run;
    faults: when each job was hit, if it was.
    """

    adapter: Adapter
    redis: RedisServer
    postgres: PostgresServer
    directory: Path
    times: int = 0
    never: int = 0
    restarts: int = 0
    keys: list[str] = field(default_factory=list)
    faults: dict[str, float] = field(default_factory=dict)
    workers: list[PeerWorker] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        self.log = EffectsLog(self.directory / "effects.log")
        os.environ[EFFECTS] = str(self.log.path)
        self.redis.flushall()
        self.adapter.reset()

    def worker(self, redis_url: str = "") -> PeerWorker:
        """Start one more worker."""
        url = {RedisServer.variable: redis_url or self.redis.url}
        output = self.directory / f"worker-{len(self.workers)}.log"
        started = PeerWorker(self.adapter.command(), env=url, output=output)
        self.workers.append(started)
        return started

    def enqueue(self, count: int, nap: float = 0.0, gated: bool = False) -> list[str]:
        """Enqueue so many jobs."""
        keys = [str(uuid4()) for _ in range(count)]
        for key in keys:
            self.adapter.enqueue(key, nap, gated)
        self.keys += keys
        return keys

    def busy(self, count: int) -> list[str]:
        """Start so many workers; each is in the middle of a job when this returns."""
        keys = self.enqueue(count, gated=True)
        for _ in keys:
            self.worker()
        wait_until(lambda: len(self.log.times("begin")) == count, START_SECONDS, "all have begun")
        return keys

    def ready(self) -> None:
        """Run one short job: the workers that are free are connected."""
        key = str(uuid4())
        self.adapter.enqueue(key)
        wait_until(lambda: self.log.of("end", key), START_SECONDS, "a worker is ready")

    def hit(self, keys: Iterable[str]) -> None:
        """The fault happens to these jobs now."""
        self.times = self.times or 1
        self.faults.update(dict.fromkeys(keys, time.monotonic()))

    def remark(self, text: str) -> None:
        """Say something in the table, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def revive(self) -> None:
        """Start the workers that ended by themselves again, as a process manager would."""
        dead = [w for w in self.workers if w.returncode is not None and not w.expected]
        for worker in dead:
            worker.expected = True
            sys.stderr.write(f"--- a worker ended:\n{worker.output[-2000:]}\n")
            self.worker()
        self.restarts += len(dead)

    def living(self) -> list[PeerWorker]:
        """The workers that run."""
        return [worker for worker in self.workers if worker.returncode is None]

    def wait(self, limit: float = LIMIT) -> None:
        """Wait until all jobs are done, `limit` seconds at most, and start ended workers again."""

        def done() -> bool:
            self.revive()
            return self.all_done()

        self.poll(done, limit)

    def poll(self, condition: Callable[[], bool], limit: float) -> bool:
        """Wait for a condition; False if it did not come true in time."""
        end = time.monotonic() + limit
        while not (met := condition()) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return met

    def all_done(self) -> bool:
        """Whether each job ended and its system says so, or failed for good."""
        return all(state in DONE for state in self.states().values())

    def unended(self) -> list[str]:
        """The jobs whose body has not run to its end."""
        ended = self.log.times("end")
        return [key for key in self.keys if not ended[key]]

    def states(self) -> dict[str, State]:
        """What the system shows of all jobs."""
        return self.adapter.states(self.keys)

    def entry(self, section: str, injected: str) -> Entry:
        """Count what came of the jobs, and end the workers."""
        states, ended = self.states(), self.log.times("end")
        self.end_workers()
        counts = Counter(states.values())
        ran = Counter(states[key] for key in self.keys if ended[key])
        if self.restarts:
            self.remark(f"{self.restarts} workers ended and were started again")
        self._remark_hidden(ran, counts - ran)
        return Entry(
            section,
            injected,
            system=self.adapter.name,
            times=self.times,
            jobs=len(self.keys) + self.never,
            lost=sum(not ended[key] and states[key] in NOTHING_TO_DO for key in self.keys),
            again=sum(ended[key] > 1 for key in self.keys),
            recovery=self._recovery(states),
            late=counts[State.RUNNING] + counts[State.WAITING],
            failed=counts[State.FAILED],
            remark="; ".join(self.remarks),
        )

    def _remark_hidden(self, ran: Counter[State], others: Counter[State]) -> None:
        """What the counts do not tell: which of these jobs ran to their end."""
        if others[State.RUNNING]:
            self.remark(f"{others[State.RUNNING]} shown as running, with no process")
        if others[State.WAITING]:
            self.remark(f"{others[State.WAITING]} still waiting")
        for state in (State.RUNNING, State.WAITING, State.FAILED):
            if ran[state]:
                self.remark(f"{ran[state]} ran to the end and shown as {state}")
        if ran[State.GONE]:
            self.remark(f"{ran[State.GONE]} ran to the end, of which no record is left")

    def _recovery(self, states: dict[str, State]) -> list[float]:
        """From the fault to the first end after it, of the jobs that are shown as finished."""
        ends: dict[str, float] = {}
        for effect in self.log.of("end"):
            if effect.at >= self.faults.get(effect.job, float("inf")):
                ends.setdefault(effect.job, effect.at)
        finished = [key for key in ends if states.get(key) == State.FINISHED]
        return [ends[key] - self.faults[key] for key in finished]

    def tell_workers(self) -> None:
        """Show what the workers printed last, and what the system shows of the jobs."""
        sys.stderr.write(f"{self.states()}\n{self.log.entries}\n")
        for worker in self.workers:
            sys.stderr.write(f"--- worker ({worker.returncode}):\n{worker.output[-3000:]}\n")

    def end_workers(self) -> None:
        """Kill all of them."""
        for worker in self.living():
            worker.kill()
