"""The signals that reach a worker: one process of it, or all of them with their group."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from .streams import flush_streams

Handler = Callable[[int, FrameType | None], None]
# Each asks for a stop: a hang-up of the terminal and Ctrl-\ as much as Ctrl-C.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
# A worker that stands still is called dead by others, and its jobs are charged for that.
JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
# They say nothing to a worker, and would end it.
_before_end: list[Callable[[], object]] = []
UNUSED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


def listen(stop: Handler | signal.Handlers) -> None:
    """Have all that ask for a stop handled by this, but for a hang-up under nohup."""
    for number in STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def install() -> None:
    """For the start of a worker: nothing runs yet that could be finished, so a stop is its end."""
    listen(_end)
    for number in JOB_CONTROL:
        # Not a handler: reading from the terminal would be tried again without an end.
        signal.signal(number, signal.SIG_IGN)
    for number in UNUSED:
        if not _is_caught(number):
            # Not ignored: that would be inherited by the programs that tasks start.
            signal.signal(number, do_nothing)


def before_end(act: Callable[[], object]) -> None:
    """Call this when a stop ends the process that has not begun its work yet."""
    _before_end.append(act)


def do_nothing(signum: int, frame: FrameType | None) -> None:
    """A signal that says nothing to this process, or comes too late."""


def _end(signum: int, frame: FrameType | None) -> None:
    # Not SystemExit: it would be raised in the middle of anything, an import say, or be swallowed.
    for act in _before_end:
        act()
    logging.shutdown()
    flush_streams()
    os._exit(0)


def _is_caught(number: int) -> bool:
    """Whether somebody listens already: faulthandler does so without Python knowing of it."""
    if signal.getsignal(number) != signal.SIG_DFL:
        return True
    if sys.platform != "linux":
        return False
    status = Path("/proc/self/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
