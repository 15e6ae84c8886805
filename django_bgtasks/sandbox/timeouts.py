"""Time limits inside the task: a soft exception at the timeout, and one for a cancellation.

The supervisor kills what outlives them.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..core import clock
from ..core.errors import Interruption, JobCancelled, JobTimeout
from .signals import set_handler
from .thread_timeouts import ThreadLimit

CANCEL_SIGNAL = signal.SIGUSR1
# So much earlier than the clock says an alarm may come.
EARLY = 0.05
# Whether a cancellation is meant for the job that runs now; the worker knows.
_is_cancelled: list[Callable[[], bool]] = []
# Called before a task is interrupted: if it goes on all the same, it is killed.
_before: list[Callable[[], object]] = []


def confirm_cancellation(is_cancelled: Callable[[], bool]) -> None:
    """Ask this before raising JobCancelled: the signal may arrive when the next job runs."""
    _is_cancelled[:] = [is_cancelled]


def before_interruption(act: Callable[[], object]) -> None:
    """Call this before a task is interrupted. It runs in a signal handler, and raises nothing."""
    _before[:] = [act]


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise JobTimeout in this block after so many seconds, JobCancelled at CANCEL_SIGNAL.

    Signals reach only the main thread; in another one see thread_limits.
    """
    if threading.current_thread() is not threading.main_thread():
        with ThreadLimit(seconds):
            yield
        return
    armed, until = True, clock.monotonic() + seconds - EARLY

    def interrupt(signum: int, frame: FrameType | None) -> None:
        # Neither is meant for this job if it was sent to the whole process group, say.
        if signum == CANCEL_SIGNAL:
            meant = all(ask() for ask in _is_cancelled)
        else:
            meant = clock.monotonic() >= until
        if armed and meant:
            for act in _before:
                act()
            raise _interruption(signum, seconds)

    before = {number: set_handler(number, interrupt) for number in (signal.SIGALRM, CANCEL_SIGNAL)}
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        # From here on a late signal must not hit the settlement.
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            set_handler(number, handler)


@contextmanager
def on_cancellation(act: Callable[[], None]) -> Iterator[None]:
    """Call act() at CANCEL_SIGNAL in this block; it runs in a signal handler of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heed(signum: int, frame: FrameType | None) -> None:
        if all(ask() for ask in _is_cancelled):
            act()

    before = set_handler(CANCEL_SIGNAL, heed)
    try:
        yield
    finally:
        set_handler(CANCEL_SIGNAL, before)


def _interruption(signum: int, seconds: float) -> Interruption:
    if signum == CANCEL_SIGNAL:
        return JobCancelled.of("cancelled")
    return JobTimeout.of("timeout", seconds=f"{seconds:g}")
