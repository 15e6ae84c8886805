"""A storm: workers whose processes are killed every few milliseconds, at whatever they are at."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.waiting import wait_until
from tests.workers import WorkerProcess

from .case import SOON, Case
from .chaos import has_begun

EVERY = 0.05
# So many of a thousand strikes take a whole worker with all of its processes.
WHOLE_WORKERS = 4


class Storm:
    """Workers that have begun, are struck again and again, and replaced when they are gone.

    more: what is done besides, by its seconds between two times.
    """

    def __init__(
        self,
        case: Case,
        options: Sequence[object],
        workers: int,
        more: Sequence[tuple[float, Callable[[Random], Any]]] = (),
    ) -> None:
        self.case, self.options, self.more = case, options, more
        self.seed = Random().getrandbits(32)
        print(f"seed {self.seed}")
        self.rng = Random(self.seed)
        self.counts: Counter[str] = Counter()
        self.workers = [self._new() for _ in range(workers)]
        wait_until(lambda: all(map(has_begun, self.workers)), 30, "the processes of all workers")

    def rage(self, is_over: Callable[[], bool], longest: float) -> None:
        """Strike until it is over, or for so many seconds."""
        begun = time.monotonic()
        due = [every for every, _ in self.more]
        while (passed := time.monotonic() - begun) < longest:
            self._strike()
            for place, (every, act) in enumerate(self.more):
                if passed > due[place]:
                    due[place] = passed + every
                    act(self.rng)
            if self.counts.total() % 10 == 0 and is_over():
                return
            time.sleep(max(0.0, EVERY - (time.monotonic() - begun - passed)))

    def _strike(self) -> None:
        place = self.rng.randrange(len(self.workers))
        worker = self.workers[place]
        self.counts["strikes"] += 1
        if self.rng.randrange(1000) < WHOLE_WORKERS:
            self.case.kill(worker)
            self.workers[place] = self._new()
            self.counts["workers"] += 1
        elif children := _children(worker.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(children), signal.SIGKILL)
                self.counts["processes"] += 1

    def _new(self) -> WorkerProcess:
        return self.case.worker(*self.options, env=SOON)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]
