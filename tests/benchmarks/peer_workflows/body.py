"""What the jobs of every system do."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

# The file to which steps write, and the URL of the Redis of this system.
LOG, REDIS = "BGTASKS_PEERS_LOG", "BGTASKS_TEST_REDIS_URL"


def noop(number: int, *before: object) -> int:
    """Nothing. before: what the system passes on from the step before."""
    return number


def nap(number: int, seconds: float) -> int:
    """Write that it begins, sleep, and write that it has ended."""
    note("begin", number)
    time.sleep(seconds)
    note("end", number)
    return number


def join(key: str, results: Sequence[int]) -> None:
    """The step after a group: write how many results it has got."""
    note("join", key, len(results))


def last(key: str, *before: object) -> None:
    """The last step of a chain: write that it ran."""
    note("last", key)


def note(*words: object) -> None:
    """Append a line that ends with the time, by the one clock of all processes of a host."""
    line = " ".join(map(str, (*words, repr(time.monotonic()))))
    file = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def lines() -> list[list[str]]:
    """What was written, the words of each line."""
    log = Path(os.environ[LOG])
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []
