"""The cases, each over any system. The limit for recovery counts from the fault."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import psutil
from django.db import connection, transaction

from tests.app.models import Note
from tests.waiting import wait_until

from .again import killed_at_random, stopped_at_random
from .run import LIMIT, Run

WORKERS = 3
AWAY = 10.0
STOPPED = 20.0
MANY = 1000
ROLLBACKS = 10


def child_killed(run: Run) -> None:
    """The process that runs the job is killed in the middle of it."""
    keys = run.busy(WORKERS)
    for effect in run.log.of("begin"):
        psutil.Process(effect.pid).kill()
    run.times = len(keys)
    run.hit(keys)
    run.log.open_gate()
    # Where that process is the worker itself, this starts another.
    run.wait()


def worker_killed(run: Run) -> None:
    """All processes of the worker are killed in the middle of a job; a new one starts at once."""
    keys = run.busy(WORKERS)
    run.times = len(keys)
    for worker in run.living():
        worker.kill()
    run.hit(keys)
    run.log.open_gate()
    run.worker()
    run.wait()


def flushed_when_queued(run: Run) -> None:
    """FLUSHALL with 1,000 jobs queued; a worker starts at once."""
    keys = run.enqueue(MANY)
    run.redis.flushall()
    run.hit(keys)
    run.worker()
    run.wait()


def flushed_when_running(run: Run) -> None:
    """FLUSHALL while jobs run; they may end after it."""
    keys = run.busy(WORKERS)
    run.redis.flushall()
    run.hit(keys)
    run.log.open_gate()
    wait_until(lambda: not run.unended(), LIMIT, "the running jobs end")
    after = run.enqueue(1)
    if not run.poll(lambda: bool(run.log.of("end", after[0])), 20.0):
        run.remark("a job enqueued afterwards did not run within 20 s")
    run.wait(LIMIT - 20.0)


def redis_away_at_the_end(run: Run) -> None:
    """Redis is away for 10 s while jobs come to their end."""
    keys = run.busy(WORKERS)
    run.redis._end(run.redis.polite_signal)
    run.hit(keys)
    run.log.open_gate()
    time.sleep(AWAY)
    run.redis.start()
    run.wait()


def enqueued_without_redis(run: Run) -> None:
    """A view saves a row and enqueues while Redis is away; it returns 10 s later."""
    run.worker()
    run.ready()
    run.redis._end(run.redis.polite_signal)
    start = time.monotonic()
    took = [_view(run) for _ in range(WORKERS)]
    if max(took) > 1:
        run.remark(f"a view takes up to {max(took):.0f} s")
    time.sleep(max(0.0, AWAY - (time.monotonic() - start)))
    run.redis.start()
    run.times = WORKERS
    run.wait()


def _view(run: Run) -> float:
    """As a view with ATOMIC_REQUESTS: a row, and a job about it. The seconds it took."""
    start, before = time.monotonic(), Note.objects.count()
    key = str(uuid4())
    try:
        with transaction.atomic():
            Note.objects.create(text=key)
            run.adapter.enqueue(key)
    except Exception as error:
        saved = "after its row was committed" if Note.objects.count() > before else "and rolls back"
        run.remark(f"the view raises {type(error).__name__} {saved}")
    if Note.objects.count() > before:
        run.keys.append(key)
        run.hit([key])
    return time.monotonic() - start


def postgres_restarted(run: Run) -> None:
    """PostgreSQL restarts while jobs run and others wait."""
    keys = run.busy(WORKERS) + run.enqueue(10)
    run.postgres.restart()
    connection.close()
    run.hit(keys)
    run.log.open_gate()
    run.wait()


def stopped_and_continued(run: Run) -> None:
    """All processes of a worker stand still for 20 s in a job; another worker is there."""
    keys = run.busy(WORKERS)
    frozen = run.living()
    run.worker()
    run.ready()
    for worker in frozen:
        worker.signal_all(signal.SIGSTOP)
    run.times = len(keys)
    run.hit(keys)
    run.log.open_gate()
    time.sleep(STOPPED)
    for worker in frozen:
        worker.signal_all(signal.SIGCONT)
    run.wait()
    # A late writer may still be on its way.
    run.poll(lambda: run.log.path.stat().st_mtime < time.time() - 5, 15.0)
    if again := sum(run.log.times("begin")[key] > 1 for key in keys):
        run.remark(f"{again} began a second time elsewhere")


def rolled_back(run: Run) -> None:
    """Jobs are enqueued in transactions that roll back; none of them may run."""
    run.worker()
    run.ready()
    keys = [str(uuid4()) for _ in range(ROLLBACKS)]
    for key in keys:
        with transaction.atomic():
            run.adapter.enqueue(key)
            transaction.set_rollback(True)
    run.times = run.never = len(keys)
    run.ready()
    time.sleep(3)
    ran = sum(run.log.times("begin")[key] > 0 for key in keys)
    run.remark(f"{ran} of {len(keys)} ran" if ran else "none of them ran")


@dataclass(frozen=True)
class PeerCase:
    """A row of each table. on_redis: it makes no sense for a system without Redis."""

    section: str
    injected: str
    strike: Callable[[Run], None]
    on_redis: bool = False


CASES = (
    PeerCase("A1", "the process that runs the job is killed", child_killed),
    PeerCase("A2", "the whole worker is killed in a job, a new one starts at once", worker_killed),
    PeerCase("A3", "the whole worker is killed at random, under short jobs", killed_at_random),
    PeerCase("B1", "FLUSHALL with 1,000 jobs queued", flushed_when_queued, True),
    PeerCase("B2", "FLUSHALL while jobs run", flushed_when_running, True),
    PeerCase("B3", "Redis away for 10 s when jobs end", redis_away_at_the_end, True),
    PeerCase("B4", "enqueued while Redis is away for 10 s", enqueued_without_redis, True),
    PeerCase("C1", "PostgreSQL restarted while jobs run", postgres_restarted),
    PeerCase("D1", "a worker stands still for 20 s in a job, and wakes", stopped_and_continued),
    PeerCase("D2", "enqueued in a transaction that rolls back", rolled_back),
    PeerCase("E1", "SIGTERM to a busy worker, 1 ms to Redis", stopped_at_random),
)
