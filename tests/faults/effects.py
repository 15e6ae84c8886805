"""The effects log: what really ran, told outside of the database, in an append-only file."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BGTASKS_TEST_EFFECTS"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of the log. at: seconds of CLOCK_MONOTONIC, the same for all processes of a host."""

    what: str
    job: str
    pid: int
    at: float


def note(what: str, job: str) -> None:
    """Write one effect, in one system call: several processes append to this file."""
    line = f"{what} {job} {os.getpid()} {time.monotonic():.6f}\n".encode()
    handle = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


class EffectsLog:
    """The log as the test reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def entries(self) -> list[Effect]:
        """All effects so far, in the order in which they were written."""
        if not self.path.exists():
            return []
        parts = [line.rsplit(" ", 3) for line in self.path.read_text().splitlines()]
        return [Effect(what, job, int(pid), float(at)) for what, job, pid, at in parts]

    def of(self, what: str, job: str | None = None) -> list[Effect]:
        """The effects of one kind, of one job or of all."""
        return [e for e in self.entries if e.what == what and job in (None, e.job)]

    def times(self, what: str) -> Counter[str]:
        """How often each job had this effect."""
        return Counter(effect.job for effect in self.of(what))

    @property
    def gate(self) -> Path:
        """The file for which the task `wait_at_gate` waits."""
        return Path(f"{self.path}.gate")

    def open_gate(self) -> None:
        """Let the jobs that wait at the gate go on."""
        self.gate.touch()
