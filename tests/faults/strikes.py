"""Strikes: a process under test ends, or halts, at a named point, once.

Points are `before NAME` and `after NAME` for each `@fault_point(NAME)` of the package, and what
tasks reach themselves, such as `in body`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil

from tests.stopping import stop

from .effects import VARIABLE as EFFECTS
from .effects import note

VARIABLE = "BGTASKS_TEST_STRIKE"
Victim = Literal["process", "supervisor", "tree", "self", "nobody"]
# At these points a None says that there was nothing to do, and nothing to strike at.
MUST_ANSWER = ("after fetch", "after claim", "after promote")


@dataclass(frozen=True, slots=True)
class Strike:
    """Who is hit by which signal at which point, the first time anybody comes there.

    victim: process (the process that is there), its supervisor, its whole tree, or nobody.
    hold: the process that is there then waits for the test's go (`EffectsLog.open_gate`).
    """

    point: str
    victim: Victim = "process"
    number: int = signal.SIGKILL
    hold: bool = False

    @property
    def env(self) -> dict[str, str]:
        """What makes a process take this strike."""
        return {VARIABLE: json.dumps(asdict(self)), "DJANGO_SETTINGS_MODULE": "tests.faults.armed"}


@cache
def plan() -> Strike | None:
    """The strike of this process, and of those that it forks."""
    return Strike(**json.loads(os.environ[VARIABLE])) if VARIABLE in os.environ else None


def strike(point: str, value: Any = None) -> None:
    """What every fault point calls in an armed process."""
    planned = plan()
    if planned is None or point != planned.point:
        return
    if (point in MUST_ANSWER and not value) or not _is_first():
        return
    note("struck", point.replace(" ", "-"))
    _hit(planned)
    if planned.hold:
        while not Path(f"{os.environ[EFFECTS]}.gate").exists():
            time.sleep(0.01)


def _hit(planned: Strike) -> None:
    if planned.victim == "tree" and planned.number == signal.SIGSTOP:
        stop([one for one in psutil.process_iter() if _is_of_this_tree(one)])
        os.kill(os.getpid(), signal.SIGSTOP)
    elif planned.victim == "tree":
        os.killpg(os.getpgrp(), planned.number)
    elif planned.victim != "nobody":
        os.kill(os.getppid() if planned.victim == "supervisor" else os.getpid(), planned.number)
        # A process that has killed its parent is killed by the kernel a moment later.
        time.sleep(10 if planned.number == signal.SIGKILL else 0)


def _is_of_this_tree(process: psutil.Process) -> bool:
    """Whether it is another process of this worker."""
    try:
        return process.pid != os.getpid() and os.getpgid(process.pid) == os.getpgrp()
    except ProcessLookupError:
        return False


def _is_first() -> bool:
    """Whether nobody was here before: lightning strikes once."""
    try:
        os.close(os.open(f"{os.environ[EFFECTS]}.struck", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
