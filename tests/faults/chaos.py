"""Chaos for the soak: random kills, a wiped Redis, a restarted PostgreSQL, on a timetable."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from testproject.servers import PostgresServer, RedisServer
from tests.waiting import wait_until
from tests.workers import WorkerProcess, environment

KILL_EVERY, FLUSH_EVERY, RESTART_EVERY = 1.0, 30.0, 60.0
# So many of a hundred kills take a whole worker with all its processes.
WHOLE_WORKERS = 5


@dataclass
class Chaos:
    """Workers that are hit again and again, and replaced when they are gone.

    kills: when each process was killed, by its id, in seconds of CLOCK_MONOTONIC.
    """

    directory: Path
    rng: random.Random
    redis: RedisServer
    postgres: PostgresServer | None
    workers: list[WorkerProcess] = field(default_factory=list)
    kills: dict[int, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    _started: int = 0

    def start_workers(self, count: int, processes: int) -> None:
        """Start the workers that shall be there at any time."""
        self.workers = [self._new_worker(processes) for _ in range(count)]
        self._processes = processes

    def run_until(self, end: float) -> None:
        """Strike until `end`. In the main thread: what a thread starts dies with that thread."""
        due = {self._kill: KILL_EVERY, self._flush: FLUSH_EVERY, self._restart: RESTART_EVERY}
        next_time = {strike: time.monotonic() + every for strike, every in due.items()}
        while time.monotonic() < end:
            strike = min(next_time, key=next_time.__getitem__)
            time.sleep(max(0.0, min(next_time[strike], end) - time.monotonic()))
            strike()
            next_time[strike] = time.monotonic() + due[strike]

    def end(self) -> list[str]:
        """Stop the workers politely; what they left behind, and those that ended badly."""
        # Before its handlers are there, SIGTERM ends a worker that has only just come.
        wait_until(lambda: all(map(has_begun, self.workers)), 60, "the children of all workers")
        codes = [worker.stop() for worker in self.workers]
        left = [str(process) for worker in self.workers for process in worker.family()]
        return [f"a worker ended with {code}" for code in codes if code] + left

    def _kill(self) -> None:
        worker = self.rng.choice(self.workers)
        if self.rng.randrange(100) < WHOLE_WORKERS:
            for process in worker.family():
                self.kills[process.pid] = time.monotonic()
            worker.kill()
            self.workers[self.workers.index(worker)] = self._new_worker(self._processes)
            self._count("whole workers killed")
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(worker.pid).children()
            if children:
                victim = self.rng.choice(children)
                victim.kill()
                self.kills[victim.pid] = time.monotonic()
                self._count("processes killed")

    def _flush(self) -> None:
        self.redis.flushall()
        self._count("FLUSHALL")

    def _restart(self) -> None:
        if self.postgres:
            self.postgres.restart()
            self._count("restarts of PostgreSQL")

    def _new_worker(self, processes: int) -> WorkerProcess:
        self._started += 1
        output = self.directory / f"soak-{self._started}.log"
        return WorkerProcess(["--processes", processes], env=environment(), output=output)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def has_begun(worker: WorkerProcess) -> bool:
    """Whether it has ended, or has more children than the look at the database before them."""
    return worker.returncode is not None or len(psutil.Process(worker.pid).children()) > 1
