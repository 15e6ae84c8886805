"""The cases that strike again and again at random moments, under load; the seed is fixed."""

from __future__ import annotations

import random
import time
from urllib.parse import urlsplit

from tests.faults.proxy import Proxy
from tests.waiting import wait_until

from .adapter import State
from .processes import PeerWorker
from .run import LIMIT, START_SECONDS, Run

KILLS, STOPS = 30, 20
LATEST = 0.3
MILLISECOND = 0.001
# The queue is filled up to so many jobs before each strike.
SHORT_JOBS, BUSY_JOBS = 300, 40
BUSY_SECONDS = 0.02
DRAIN_SECONDS = 240.0


def killed_at_random(run: Run) -> None:
    """All processes are killed again and again, under a load of jobs that do nothing."""
    rng = random.Random(1)
    for _ in range(KILLS):
        fill(run, SHORT_JOBS, nap=0.0)
        worker = at_work(run)
        time.sleep(rng.uniform(0, LATEST))
        worker.kill()
        run.hit(in_the_middle(run))
    run.times = KILLS
    run.worker()
    drain(run)


def stopped_at_random(run: Run) -> None:
    """SIGTERM to a busy worker with a millisecond to Redis, again and again."""
    rng = random.Random(2)
    address = urlsplit(run.redis.url)
    with Proxy((str(address.hostname), int(address.port or 0))) as proxy:
        url = f"redis://{proxy.host}:{proxy.port}/0"
        proxy.delay = MILLISECOND
        for _ in range(STOPS):
            fill(run, BUSY_JOBS, nap=BUSY_SECONDS)
            worker = at_work(run, url)
            time.sleep(rng.uniform(0, LATEST))
            if not worker.end():
                run.remark("a stop took longer than 60 s")
            run.hit(in_the_middle(run))
        run.times = STOPS
        run.worker(url)
        drain(run)
        for worker in run.living():
            worker.kill()


def fill(run: Run, count: int, nap: float) -> None:
    """Have so many jobs waiting."""
    waiting = list(run.states().values()).count(State.WAITING)
    run.enqueue(max(0, count - waiting), nap)


def at_work(run: Run, redis_url: str = "") -> PeerWorker:
    """Start a worker; when this returns it has run a job."""
    before = len(run.log.of("end"))
    worker = run.worker(redis_url)
    wait_until(lambda: len(run.log.of("end")) > before, START_SECONDS, "a job has run")
    return worker


def in_the_middle(run: Run) -> list[str]:
    """The jobs that this strike hit: they began and did not end."""
    begun = run.log.times("begin")
    return [key for key in run.unended() if begun[key] and key not in run.faults]


def drain(run: Run) -> None:
    """Let a worker run what waits, however long that takes; then comes the end of the limit."""
    start = time.monotonic()
    run.poll(lambda: State.WAITING not in run.states().values(), DRAIN_SECONDS)
    run.wait(max(5.0, LIMIT - (time.monotonic() - start)))
