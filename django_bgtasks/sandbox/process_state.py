"""What a job process stands on: what a task has changed of it is put back after the task.

It is what the worker itself needs for its time limits, its stop, its settlements and its log, and
what would make other tasks fail or write something else. Environment and modules are the site's:
what a library sets up at its first use must last.
"""

from __future__ import annotations

import asyncio
import gc
import locale
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from contextlib import suppress

from .logging_state import restore_log, take_log
from .signals import get_handler, set_handler
from .timeouts import CANCEL_SIGNAL

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGCHLD,
    signal.SIGPIPE,
    CANCEL_SIGNAL,
)
STANDARD = (0, 1, 2)
# The exit code by which the supervisor knows a process that a task took the descriptors from.
EXIT_FDS_CLOSED = 113
# A limit on these, left by a task, would kill other jobs or make them fail.
LIMITS = (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE)
# Of the descriptors that the process may have. A task that leaks them has soon used them up.
USED_UP = 0.9
_taken: list[ProcessState] = []


class ProcessState:
    """This process as it is now, to be put back later."""

    def __init__(self, directory: str) -> None:
        self.handlers = {number: get_handler(number) for number in SIGNALS}
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.directory, self.place = directory, _open_directory()
        self.umask = os.umask(0o077)
        os.umask(self.umask)
        self.streams = sys.stdout, sys.stderr
        self.recursion, self.collects = sys.getrecursionlimit(), gc.isenabled()
        self.locale, self.socket_timeout = (
            locale.setlocale(locale.LC_ALL),
            socket.getdefaulttimeout(),
        )
        self.limits = {limit: resource.getrlimit(limit) for limit in LIMITS}
        self.nice, self.filters = os.getpriority(os.PRIO_PROCESS, 0), list(warnings.filters)
        # Copies to put back; nobody knows them, so who has closed them has closed all.
        self.copies = {number: os.dup(number) for number in STANDARD if _file(number)}
        self.files = {copy: _file(copy) for copy in self.copies.values()}

    def restore(self) -> None:
        """Put it back. Does not return if the descriptors of this process are not its own now."""
        sys.setrecursionlimit(self.recursion)
        self._restore_files()
        self._restore_signals()
        self._restore_directory()
        os.umask(self.umask)
        sys.stdout, sys.stderr = self.streams
        restore_log()
        (gc.enable if self.collects else gc.disable)()
        asyncio._set_running_loop(None)
        if locale.setlocale(locale.LC_ALL) != self.locale:
            locale.setlocale(locale.LC_ALL, self.locale)
        socket.setdefaulttimeout(self.socket_timeout)
        if warnings.filters != self.filters:
            self._restore_filters()

    def _restore_directory(self) -> None:
        try:
            # By its name: a deploy may have put another one in its place.
            os.chdir(self.directory)
        except OSError:
            # It is removed, or not to be entered any more.
            with suppress(OSError):
                os.fchdir(self.place)

    def _restore_filters(self) -> None:
        """Without those that make errors of warnings; what a library wants ignored stays so."""
        added = [one for one in warnings.filters if one not in self.filters and one[0] != "error"]
        warnings.resetwarnings()
        self.filters = [*added, *self.filters]
        warnings.filters[:] = self.filters  # type: ignore[index]

    def restore_limits(self) -> bool:
        """Put them back. False if that cannot be: only root may raise them again."""
        try:
            for limit, values in self.limits.items():
                if resource.getrlimit(limit) != values:
                    resource.setrlimit(limit, values)
            if os.getpriority(os.PRIO_PROCESS, 0) != self.nice:
                os.setpriority(os.PRIO_PROCESS, 0, self.nice)
        except (OSError, ValueError):
            return False
        return True

    def _restore_files(self) -> None:
        for copy in self.copies.values():
            if _file(copy) != self.files[copy]:
                # A number that was a connection's may be another one's soon: what is written to
                # the one would reach the other. No settlement is safe here.
                os._exit(EXIT_FDS_CLOSED)
            # Who has closed one of them has closed all.
            break
        for number, copy in self.copies.items():
            if _file(number) != self.files[copy]:
                os.dup2(copy, number)

    def _restore_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)
        for number, handler in self.handlers.items():
            set_handler(number, handler)
        # Last: what was held back is delivered now, to handlers that know it.
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


def take(directory: str) -> None:
    """From now on every task leaves this process as it is now. For the main thread of a worker.

    directory: the name of the working directory, which may be gone by now.
    """
    _taken[:] = [ProcessState(directory)]
    take_log()


def is_worn() -> bool:
    """Put the limits of this process back. True if it is not fit for more jobs: they are lower
    for good, or its descriptors are nearly used up.
    """
    if not all(state.restore_limits() for state in _taken):
        return True
    try:
        lowest_free = os.dup(STANDARD[0])
    except OSError:
        return True
    os.close(lowest_free)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most != resource.RLIM_INFINITY and lowest_free > USED_UP * most


def restore() -> None:
    """Put this process back to how it was taken, if a worker has taken it.

    Not by one of several threads: it would take from the others what they stand on.
    """
    if _taken and threading.current_thread() is threading.main_thread():
        _taken[0].restore()


def _open_directory() -> int:
    try:
        return os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    except OSError:
        # Nobody may enter it any more.
        return -1


def _file(number: int) -> tuple[int, int] | None:
    """Which file is open under this number; None if there is none."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino
