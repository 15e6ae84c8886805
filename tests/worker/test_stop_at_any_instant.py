"""A worker that is stopped at any instant from its exec() on leaves nothing behind."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any
from uuid import UUID

import pytest
import redis

from django_bgtasks.models import Attempt, Job, Worker
from tests.app.tasks import sleep
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import unfinished, wait_for_state

FEW, MANY = 6, 200
# Jobs that wait for each worker: none of them has run them all when it is stopped.
JOBS, SECONDS = 20, 0.1
Send = Callable[[int, signal.Signals], None]
SENDS: tuple[Send, ...] = (os.kill, os.killpg)
SIDE_BY_SIDE = ("--processes", 2, "--threads", 2)
# Before the command is loaded nobody listens for the signal: Python ends as by default.
UNHEARD = {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: -signal.SIGINT}


@dataclass
class Stop:
    """How one worker ended that was stopped so many seconds after its start."""

    after: float
    code: int
    output: str
    claims: int

    def faults(self, number: signal.Signals) -> list[str]:
        """What is wrong with it."""
        found = []
        # A Ctrl-C while Python itself imports its site module ends it with 1.
        unheard = {UNHEARD[number], *([1] if number == signal.SIGINT else [])}
        if self.code != 0 and (self.code not in unheard or self.claims):
            found.append(f"exit code {self.code} after {self.claims} claims")
        if self.output_has_traceback(number):
            found.append(f"a traceback:\n{self.output}")
        return [f"{self.after:.3f} s: {fault}" for fault in found]

    def output_has_traceback(self, number: signal.Signals) -> bool:
        """Python's own, of a Ctrl-C before there is a worker, is none of ours."""
        return "Traceback" in self.output and not (number == signal.SIGINT and self.code != 0)


def stop_at(
    bgworker: WorkerFactory,
    after: float,
    number: signal.Signals,
    arguments: tuple[object, ...],
    send: Send,
) -> Stop:
    """Start a worker, stop it after so many seconds, and see what it leaves behind.

    send: to the supervisor alone, as by Docker, or to its group, as by a terminal.
    """
    before = claims()
    worker = bgworker(*arguments, fresh=True)
    time.sleep(after)
    send(worker.pid, number)
    code = worker.wait(60)
    wait_until(lambda: not worker.family(), 10, "its processes are gone")
    return Stop(after, code, worker.output, claims() - before)


def claims() -> int:
    return sum(Job.objects.values_list("claims", flat=True))


def start_seconds(
    bgworker: WorkerFactory, effects: Effects, arguments: tuple[object, ...]
) -> float:
    """From the start of a worker to its first job."""
    job = tasks.record.enqueue(str(effects), "first")
    began = time.monotonic()
    worker = bgworker(*arguments, fresh=True)
    wait_for_state(job, "succeeded", 60)
    seconds = time.monotonic() - began
    assert worker.stop() == 0
    return seconds


def stop_many(
    bgworker: WorkerFactory,
    effects: Effects,
    redis_client: redis.Redis,
    instants: int,
    numbers: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
    arguments: tuple[object, ...] = (),
) -> None:
    """Stop so many workers at random instants while they start and work; then let all jobs run."""
    seed = int(os.environ.get("BGTASKS_TEST_SEED", random.randrange(2**32)))
    print(f"BGTASKS_TEST_SEED={seed}")
    chance, whole = random.Random(seed), 1.5 * start_seconds(bgworker, effects, arguments)
    faults: list[str] = []
    ends: dict[int, int] = {}
    for number in islice(cycle(numbers), instants):
        if Job.objects.filter(state="queued").count() < JOBS:
            # Short ones, which are claimed together, and some in the middle of which a stop comes.
            tasks.record.enqueue_many([(str(effects), "x")] * JOBS)
            sleep.enqueue_many([(SECONDS,)] * (JOBS // 4))
        after, send = chance.uniform(0, whole), chance.choice(SENDS)
        stop = stop_at(bgworker, after, number, arguments, send)
        faults += stop.faults(number)
        ends[stop.code] = ends.get(stop.code, 0) + 1
        faults += stranded(stop, redis_client)
    print(f"exit codes: {ends}, {claims()} claims, within {whole:.2f} s")
    assert faults == []
    assert bgworker("--burst").wait(60) == 0
    assert unfinished() == 0
    # Nobody was charged, and nothing ran twice.
    assert not Attempt.objects.exists()
    assert not Job.objects.exclude(state="succeeded", attempt=1).exists()
    assert len(effects.texts) == Job.objects.exclude(task=sleep.module_path).count()


def stranded(stop: Stop, redis_client: redis.Redis) -> list[str]:
    """What nobody but a rescuer would take from there."""
    found = []
    if held := Job.objects.filter(state="running").count():
        found.append(f"{held} jobs are left running")
    if alive := Worker.objects.filter(stopped_at=None, lost_at=None).count():
        found.append(f"{alive} workers have not signed off")
    messages: Any = redis_client.lrange(waiting_in("default"), 0, -1)
    sent = {UUID(message.decode()) for message in messages}
    if lost := set(Job.objects.filter(state="queued").values_list("pk", flat=True)) - sent:
        found.append(f"{len(lost)} queued jobs have no message")
    return [f"{stop.after:.3f} s: {fault}:\n{stop.output}" for fault in found]


@pytest.mark.slow
def test_a_stop_at_any_instant_strands_nothing(
    bgworker: WorkerFactory, effects: Effects, redis_client: redis.Redis
) -> None:
    stop_many(bgworker, effects, redis_client, FEW)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arguments", [(), SIDE_BY_SIDE], ids=["alone", "side by side"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: str(n.name))
def test_a_stop_at_any_of_many_instants_strands_nothing(
    bgworker: WorkerFactory,
    effects: Effects,
    redis_client: redis.Redis,
    number: signal.Signals,
    arguments: tuple[object, ...],
) -> None:
    many = MANY if number == signal.SIGTERM else MANY // 4
    stop_many(bgworker, effects, redis_client, many, [number], arguments)
