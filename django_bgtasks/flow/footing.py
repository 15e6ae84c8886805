"""What a job process stands on: what a task has changed of it is put back after the task.

It is what the worker itself needs for its time limits, its stop, its settlements and its log.
Environment, locale and modules are the site's: what a library sets up at its first use must last.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .deadline import CANCEL_SIGNAL
from .handlers import get_handler, set_handler

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGCHLD,
    signal.SIGPIPE,
    CANCEL_SIGNAL,
)
STANDARD = (0, 1, 2)
# The exit code by which the arbiter knows a process that a task took the descriptors from.
ROBBED = 113
_taken: list[Footing] = []


class Footing:
    """This process as it is now, to be put back later."""

    def __init__(self) -> None:
        self.handlers = {number: get_handler(number) for number in SIGNALS}
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.directory = os.getcwd()  # noqa: PTH109 - a Path would be built after every task
        self.umask = os.umask(0o077)
        os.umask(self.umask)
        self.streams = sys.stdout, sys.stderr
        self.recursion, self.collects = sys.getrecursionlimit(), gc.isenabled()
        self.silenced = logging.root.manager.disable
        # Copies to put back; nobody knows them, so who has closed them has closed all.
        self.copies = {number: os.dup(number) for number in STANDARD if _file(number)}
        self.files = {copy: _file(copy) for copy in self.copies.values()}

    def restore(self) -> None:
        """Put it back. Does not return if the descriptors of this process are not its own now."""
        sys.setrecursionlimit(self.recursion)
        self._restore_files()
        self._restore_signals()
        with suppress(OSError):
            os.chdir(self.directory)
        os.umask(self.umask)
        sys.stdout, sys.stderr = self.streams
        if logging.root.manager.disable != self.silenced:
            logging.disable(self.silenced)
        (gc.enable if self.collects else gc.disable)()
        asyncio._set_running_loop(None)

    def _restore_files(self) -> None:
        for number, copy in self.copies.items():
            if _file(copy) != self.files[copy]:
                # A number that was a connection's may be another one's soon: what is written to
                # the one would reach the other. No settlement is safe here.
                os._exit(ROBBED)
            if _file(number) != self.files[copy]:
                os.dup2(copy, number)

    def _restore_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)
        for number, handler in self.handlers.items():
            set_handler(number, handler)
        # Last: what was held back is delivered now, to handlers that know it.
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


def take() -> None:
    """From now on every task leaves this process as it is now. For the main thread of a worker."""
    _taken[:] = [Footing()]


@contextmanager
def kept() -> Iterator[None]:
    """What this block changes of the process is put back at its end, if a worker wants it so.

    Not by one of several threads: it would take from the others what they stand on.
    """
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for footing in _taken:
                footing.restore()


def _file(number: int) -> tuple[int, int] | None:
    """Which file is open under this number; None if there is none."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino
