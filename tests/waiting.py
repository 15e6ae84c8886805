"""Waiting on a condition, which is how a test waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], timeout: float = 10.0, message: str = "", pause: float = 0.01
) -> T:
    """Ask `condition` until its answer is true, and return that answer.

    timeout: seconds; after it an AssertionError with the message and the last answer.
    pause: seconds between two questions.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            what = message or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"Not within {timeout} s: {what}. The last answer: {answer!r}")
        time.sleep(pause)
    return answer
