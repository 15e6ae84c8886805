"""Waiting on a condition, which is how a test waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# Tests that share the cores with others wait longer for what must come: a busy machine is no fault.
# Alone, as when somebody works on it, a test is strict.
CORES = os.cpu_count() or 1
BESIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PATIENCE = max(1.0, 2 * BESIDE / CORES) if BESIDE > 1 else 1.0
LONGEST = 60.0
# Seconds.
FIRST_PAUSE = 0.01


def patience() -> float:
    """How much longer than alone a test waits now: also for what others do on this machine."""
    return max(PATIENCE, os.getloadavg()[0] / CORES)


def wait_until(
    condition: Callable[[], T], timeout: float = 10.0, message: str = "", pause: float = 0.05
) -> T:
    """Ask `condition` until its answer is true, and return that answer.

    timeout: seconds, more of them beside other tests; after it an AssertionError with the message
    and the last answer.
    pause: seconds between two questions. The first ones come sooner: they cost the processor time
    for which what they wait for waits as well.
    """
    timeout = max(timeout, min(timeout * patience(), LONGEST))
    deadline = time.monotonic() + timeout
    short = FIRST_PAUSE
    while not (answer := condition()):
        if time.monotonic() > deadline:
            what = message or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"Not within {timeout} s: {what}. The last answer: {answer!r}")
        time.sleep(min(short, pause))
        short *= 1.5
    return answer
