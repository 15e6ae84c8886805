"""I. The soak: 10,000 jobs under steady chaos. `tox run -e soak -- --minutes 10 --db postgres`.

A random SIGKILL every second, FLUSHALL every 30 s, a restart of PostgreSQL every 60 s; 8 processes
in 2 workers. It ends with 0 if nothing was lost and no `atomic` effect happened twice.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testproject.servers import PostgresServer, RedisServer
from tests.benchmarks.site import site

from .effects import VARIABLE as EFFECTS
from .effects import EffectsLog
from .report import Entry, record

if TYPE_CHECKING:
    from .chaos import Chaos

WORKERS, PROCESSES = 2, 4
BOUND = 15.0
# After the last strike: a whole worker that died then is noticed and its jobs are run.
SETTLE_SECONDS = 90.0


def main() -> int:
    """Soak one database after the other; 1 if a promise was broken."""
    options = parse()
    say(f"seed {options.seed}")
    # Django is set up once in a process: each database gets one of its own.
    if options.db == "both":
        return max(run_alone(options, database) for database in ("sqlite", "postgres"))
    with servers(options.db) as (redis, postgres), site(options.db) as directory:
        return soak(options, directory, redis, postgres)


def run_alone(options: argparse.Namespace, database: str) -> int:
    """The same command for one database, in a process of its own."""
    import subprocess

    command = [sys.executable, "-m", "tests.faults.soak", "--db", database]
    numbers = {"--minutes": options.minutes, "--jobs": options.jobs, "--seed": options.seed}
    command += [str(part) for item in numbers.items() for part in item]
    return subprocess.run(command, check=False).returncode


def soak(options: argparse.Namespace, directory: Path, redis: RedisServer, postgres: Any) -> int:
    """Enqueue steadily while chaos strikes, wait for the end of all jobs, and judge."""
    from .chaos import Chaos
    from .moves import moves_logged
    from .oracle import judge

    os.environ[EFFECTS] = str(directory / "effects.log")
    log = EffectsLog(directory / "effects.log")
    chaos = Chaos(directory, random.Random(options.seed), redis, postgres)
    with moves_logged():
        chaos.start_workers(WORKERS, PROCESSES)
        end = time.monotonic() + options.minutes * 60
        with ThreadPoolExecutor(1) as site_thread:
            enqueued = site_thread.submit(enqueue_until, end, options.jobs, options.seed)
            chaos.run_until(end)
            committed = enqueued.result()
        unfinished = wait_final(committed)
        left = chaos.end()
        verdict = judge(committed, log)
    verdict.faults += [f"I5 {job} is not final" for job in unfinished]
    verdict.faults += [f"I6 {text}" for text in left]
    waits = recoveries(log, chaos)
    if waits and percentile(waits, 99) > BOUND:
        verdict.faults.append(f"I5 p99 of recovery is {percentile(waits, 99):.1f} s")
    tell(options, verdict, chaos, waits)
    return 1 if verdict.lost or verdict.duplicates or verdict.faults else 0


def enqueue_until(end: float, count: int, seed: int) -> list[str]:
    """Spread `count` jobs over the time that is left; the ids of those that were committed."""
    from django.db import InterfaceError, OperationalError, connection

    from . import soak_tasks

    committed: list[str] = []
    rng = random.Random(seed)
    pause = (end - time.monotonic()) / count
    for number in range(count):
        try:
            committed.append(soak_tasks.enqueue_one(rng))
        except (OperationalError, InterfaceError):
            # PostgreSQL is being restarted: a view would fail here, and no job was promised.
            connection.close()
        time.sleep(max(0.0, end - (count - number) * pause - time.monotonic()))
    connection.close()
    return committed


def wait_final(committed: list[str]) -> list[str]:
    """Wait for the end of all jobs; the ids of those that did not come to it."""
    from django_bgtasks.models import Job

    def unfinished() -> list[str]:
        live = Job.objects.all().live().values_list("pk", flat=True)
        return [str(pk) for pk in live]

    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := unfinished()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [job for job in left if job in committed]


def recoveries(log: EffectsLog, chaos: Chaos) -> list[float]:
    """For each body that a kill ended: the time from the kill until the job began again."""
    waits = []
    begun: dict[str, tuple[int, float]] = {}
    for effect in log.entries:
        if effect.what != "begin":
            continue
        pid, at = begun.get(effect.job, (0, 0.0))
        killed = chaos.kills.get(pid, 0.0)
        if at < killed < effect.at:
            waits.append(effect.at - killed)
        begun[effect.job] = effect.pid, effect.at
    return sorted(waits)


def percentile(values: list[float], percent: int) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, len(values) * percent // 100)]


def tell(options: argparse.Namespace, verdict: Any, chaos: Chaos, waits: list[float]) -> None:
    """Print what happened, and record it for the table."""
    from django.db.models import Count

    from django_bgtasks.models import Job

    states = Job.objects.order_by().values_list("state").annotate(Count("pk"))
    strikes = ", ".join(f"{count} {what}" for what, count in sorted(chaos.counts.items()))
    say(f"{options.db}: {verdict.jobs} jobs in {options.minutes:g} min; {strikes}")
    say(f"  states: {dict(states)}")
    say(f"  lost {len(verdict.lost)}, duplicate effects {len(verdict.duplicates)}")
    if waits:
        middle, high = statistics.median(waits), percentile(waits, 99)
        say(f"  recovery of {len(waits)}: median {middle:.2f}, p99 {high:.2f}, max {waits[-1]:.2f}")
    for text in [*verdict.lost, *verdict.duplicates, *verdict.faults]:
        say(f"  WRONG {text}")
    entry = Entry("Soak", f"soak of {options.minutes:g} minutes: {strikes}", times=1)
    entry.jobs, entry.lost, entry.again = verdict.jobs, len(verdict.lost), verdict.again
    entry.duplicates, entry.recovery = len(verdict.duplicates), waits
    record(entry)


@contextmanager
def servers(database: str) -> Iterator[tuple[RedisServer, PostgresServer | None]]:
    """Servers that may be restarted; `site` finds them in the environment."""
    with RedisServer(private=True) as redis:
        os.environ[redis.variable] = redis.url
        if database != "postgres":
            yield redis, None
            return
        with PostgresServer(private=True) as postgres:
            os.environ[postgres.variable] = postgres.url
            yield redis, postgres


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--db", choices=("both", "sqlite", "postgres"), default="both")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
