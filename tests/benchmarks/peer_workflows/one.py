"""One measurement of one system in a process of its own, on fresh servers.

`python -m tests.benchmarks.peer_workflows.one SYSTEM times|kill` prints its figures as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from testproject.servers import PostgresServer, RedisServer
from tests.faults.peers.processes import PeerWorker
from tests.waiting import wait_until

from . import body
from .systems import VARIABLE, current

CHORD, CHAIN, LONGEST = 1000, 100, 180.0
MEMBERS, NAP, BEGUN, PAUSE = 200, 0.02, 60, 1.0
# A system has a minute, and a little more.
WATCH, CALM = 75.0, 3.0


def main(name: str, what: str) -> None:
    """Start the servers, measure, and print."""
    directory = Path(tempfile.mkdtemp(prefix="bgtasks-peers-"))
    os.environ.update({VARIABLE: name, body.LOG: str(directory / "effects")})
    measure = {"times": times, "kill": kill}[what]
    with ExitStack() as servers:
        redis = servers.enter_context(RedisServer(private=True))
        os.environ[redis.variable] = redis.url
        if name == "bgtasks":
            postgres = servers.enter_context(PostgresServer(durable=True))
            os.environ[postgres.variable] = postgres.url
            set_up()
        sys.stdout.write(json.dumps(measure(directory)))
    shutil.rmtree(directory, ignore_errors=True)


def set_up() -> None:
    """Django with an empty database."""
    os.environ.update(BGTASKS_TEST_DB="postgres", DJANGO_SETTINGS_MODULE="tests.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, run_syncdb=True)


def times(directory: Path) -> dict[str, float]:
    """Seconds from the call until the last step has run, in a worker that is warm and idle."""
    system = current()
    with worker(directory):
        chord = seconds(lambda: system.start_chord("chord", CHORD), "join", "chord", str(CHORD))
        chain = seconds(lambda: system.start_chain("chain", CHAIN), "last", "chain")
    return {"chord": chord, "chain": chain}


def seconds(start: Callable[[], None], *words: str) -> float:
    """Seconds from this call until the step that writes these words."""
    begin = time.monotonic()
    start()
    wait_until(lambda: of_words(*words), timeout=LONGEST, pause=0.02)
    return float(of_words(*words)[0][-1]) - begin


def of_words(*words: str) -> list[list[str]]:
    """The lines that begin with these words."""
    return [line for line in body.lines() if line[: len(words)] == list(words)]


def kill(directory: Path) -> dict[str, Any]:
    """Kill all of a worker in the middle of a chord, start a new one, and see what comes of it."""
    with worker(directory) as first:
        current().start_chord("killed", MEMBERS, NAP)
        wait_until(lambda: len(of_words("begin")) >= BEGUN, timeout=LONGEST, pause=0.005)
        # At once: to look for each process takes longer than the rest of the chord.
        os.killpg(first.pid, signal.SIGKILL)
        killed = time.monotonic()
        first.kill()
        assert len(of_words("end")) < MEMBERS, "the kill came too late"
        time.sleep(PAUSE)
        with started(directory):
            while not of_words("join", "killed") and time.monotonic() < killed + WATCH:
                time.sleep(0.1)
            time.sleep(CALM)
    runs, begins = (Counter(line[1] for line in of_words(word)) for word in ("end", "begin"))
    joins = of_words("join", "killed")
    return {
        "callback after": float(joins[0][-1]) - killed if joins else None,
        "callbacks": len(joins),
        "results": [int(line[2]) for line in joins],
        "did not run": MEMBERS - len(runs),
        "ran twice": sum(count > 1 for count in runs.values()),
        "begun twice": sum(count > 1 for count in begins.values()),
    }


@contextmanager
def worker(directory: Path) -> Iterator[PeerWorker]:
    """A worker of this system that has run a small workflow."""
    system = current()
    with started(directory) as first:
        system.start_chord("warm", 4)
        wait_until(lambda: of_words("join", "warm"), timeout=LONGEST)
        system.start_chain("warm", 4)
        wait_until(lambda: of_words("last", "warm"), timeout=LONGEST)
        time.sleep(PAUSE)
        yield first


@contextmanager
def started(directory: Path) -> Iterator[PeerWorker]:
    """A new worker, killed in the end."""
    output = directory / f"{time.monotonic_ns()}.log"
    process = PeerWorker(current().command(), env={}, output=output)
    try:
        yield process
    except AssertionError:
        sys.stderr.write(output.read_text(errors="replace")[-3000:])
        raise
    finally:
        process.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
