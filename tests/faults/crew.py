"""Maintenance processes that fire schedules, and are killed and stopped at random.

`python -m tests.faults.crew ORDERS` loads the site once, and forks them. Each fires as maintenance
does. It is struck at the fault points, in the middle of a transaction too, and at any moment by who
has forked it: then another takes its place, or it goes on. At the end it prints how often. ORDERS
is an Orders, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from django_bgtasks.core import faultpoints
from tests.fork_server import die_with
from tests.workers import ROOT, environment

# Between two strikes from outside, and until one that was stopped goes on; seconds.
BETWEEN, STOPPED = (0.1, 0.5), (0.05, 0.8)
# In a deploy, between two processes that are replaced.
EACH = 0.2


@dataclass
class Orders:
    """What the crew is to do. risk: of a strike at each fault point.

    clocks: by how many seconds those of its processes are wrong, in turns. deploy_at: after so
    many seconds the code is another one, if it is given.
    """

    seed: int
    seconds: float
    risk: float
    processes: int = 8
    clocks: tuple[float, ...] = (0.0,)
    deploy_at: float | None = None


def run(orders: Orders, log: Path) -> dict[str, int]:
    """Let a crew fire. Returns how often one was killed and stopped; it may say nothing else."""
    command = [sys.executable, "-m", "tests.faults.crew", json.dumps(asdict(orders))]
    with log.open("w") as output:
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env=environment(),
            stdout=output,
            stderr=output,
            timeout=300,
        )
    said = log.read_text()
    assert done.returncode == 0, said
    *more, counts = said.splitlines()
    assert not more, said
    struck: dict[str, int] = json.loads(counts)
    return struck


class Crew:
    """The processes, by their ids, and which of them stand still until when."""

    def __init__(self, orders: Orders) -> None:
        self.orders, self.rng = orders, Random(orders.seed)
        self.places: dict[int, int] = {}
        self.stopped: dict[int, float] = {}
        self.counts: Counter[str] = Counter(killed=0, stopped=0)
        self.begun = time.monotonic()
        self.old: list[int] = []

    def lead(self) -> None:
        """Fork, strike, and put others in the places of the dead, until the time is over."""
        for place in range(self.orders.processes):
            self.fork(place)
        self.old = [*self.places]
        strike_at = replace_at = 0.0
        while (passed := time.monotonic() - self.begun) < self.orders.seconds:
            self.notice()
            if passed > strike_at:
                strike_at = passed + self.rng.uniform(*BETWEEN)
                number = self.rng.choice((signal.SIGKILL, signal.SIGSTOP))
                os.kill(self.rng.choice([*self.places]), number)
            if self.is_deploying() and self.old and passed > replace_at:
                replace_at = passed + EACH
                with suppress(ProcessLookupError):
                    os.kill(self.old.pop(), signal.SIGKILL)
            time.sleep(0.01)
        for pid in self.places:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def is_deploying(self) -> bool:
        """Whether who starts now has the new code."""
        at = self.orders.deploy_at
        return at is not None and time.monotonic() - self.begun > at

    def fork(self, place: int) -> None:
        """One more process."""
        leader, seed, is_new = os.getpid(), self.rng.random(), self.is_deploying()
        if pid := os.fork():
            self.places[pid] = place
            return
        die_with(leader)
        clocks = self.orders.clocks
        try:
            fire(Random(seed), self.orders, clocks[place % len(clocks)], is_new)
        finally:
            os._exit(1)

    def notice(self) -> None:
        """See who died and who was stopped meanwhile."""
        now = time.monotonic()
        for pid, until in list(self.stopped.items()):
            if now > until:
                del self.stopped[pid]
                os.kill(pid, signal.SIGCONT)
        while any(found := os.waitpid(-1, os.WNOHANG | os.WUNTRACED)):
            pid, status = found
            if os.WIFSTOPPED(status):
                self.counts["stopped"] += 1
                self.stopped[pid] = now + self.rng.uniform(*STOPPED)
                continue
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, status
            self.counts["killed"] += 1
            self.stopped.pop(pid, None)
            self.old = [one for one in self.old if one != pid]
            self.fork(self.places.pop(pid))


_risky: tuple[Random, float] | None = None


def strike(point: str, value: Any = None) -> None:
    """At every fault point: this process is killed, or stopped, or neither."""
    if _risky is None:
        return
    rng, risk = _risky
    if rng.random() < risk:
        os.kill(os.getpid(), rng.choice((signal.SIGKILL, signal.SIGSTOP)))


def fire(rng: Random, orders: Orders, wrong: float, is_new: bool) -> None:
    """What maintenance does for schedules, in a process of its own."""
    global _risky  # noqa: PLW0603 - once, in a process that was just forked
    import time_machine

    from django_bgtasks.core.options import default_backend
    from django_bgtasks.ledger.lifecycle import ledger_database
    from django_bgtasks.worker.maintenance.process import MaintenanceTask
    from django_bgtasks.worker.maintenance.schedules import Schedules

    time_machine.travel(datetime.now(UTC) + timedelta(seconds=wrong), tick=True).start()
    declare(orders.deploy_at is not None, is_new)
    task = MaintenanceTask(
        "fire schedules", 1.0, Schedules(default_backend(), ledger_database()).run_once
    )
    _risky = rng, orders.risk
    while True:
        task.run()
        time.sleep(max(0.0, min(1.0, task.due - time.monotonic())))


def declare(is_any: bool, is_new: bool) -> None:
    """Let the code have one schedule, or none. New code has other arguments."""
    from dataclasses import replace

    from django_bgtasks import Every
    from django_bgtasks.jobs.task import SCHEDULED
    from tests.schedules.tasks import sync

    SCHEDULED.clear()
    if is_any:
        every = Every(seconds=1, catch_up="all", overlap="allow", kwargs={"full": is_new})
        SCHEDULED[sync.module_path] = replace(sync, schedule=every)


def main() -> None:
    """See the module."""
    faultpoints.arm(strike)
    import django

    django.setup()
    crew = Crew(Orders(**json.loads(sys.argv[1])))
    crew.lead()
    sys.stdout.write(json.dumps(crew.counts) + "\n")


if __name__ == "__main__":
    main()
