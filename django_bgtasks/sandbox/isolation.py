"""What a task changes of its process and of its context is put back after it.

Each job has a context of its own: language, time zone, URL conf, and all context variables. What is
per thread or per context in Django would reach the next job of the thread: here is no end of a
request, at which Django forgets it.

Of the process it is what the worker itself needs for its time limits, its stop, its settlements and
its log, and what would make other tasks fail or write something else. Environment and modules are
the site's: what a library sets up at its first use must last. So do the log handlers that it adds.
"""

from __future__ import annotations

import asyncio
import decimal
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import Context, copy_context
from logging.handlers import MemoryHandler
from typing import Any

from django import db
from django.conf import settings
from django.core.cache.backends.base import BaseCache

from .connections import SessionGuard

try:
    import _signal as lean  # type: ignore[import-not-found]
except ImportError:
    lean = signal

# Without the enumerations that Python's own functions make of handlers: these take longer than all
# the rest, and several handlers are set around each task. What one of the two returns is for the
# other one only.
get_handler, set_handler = lean.getsignal, lean.signal
# How the supervisor asks a job process to stop the task that it runs.
CANCEL_SIGNAL = signal.SIGUSR1
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
# The loggers that a task which configures logging must not silence.
LOGGERS = ("django_bgtasks", "django.tasks", "django_tasks")
WORKER = "django_bgtasks.worker"
_process: list[ProcessState] = []
_log: list[LoggingState] = []


def run_in_sandbox(act: Callable[[], Any], limit: AbstractContextManager[Any]) -> Any:
    """Return what act() returns, and put back what it has changed; inline and in threads alike.

    limit: entered around act(), see timeouts. Raises what act() raises, and RuntimeError where it
    left a transaction open.
    """
    with SessionGuard():
        here, context = os.getpid(), copy_context()
        try:
            return context.run(_run, act, limit)
        finally:
            if os.getpid() != here:
                _leave(sys.exception())
            _keep_caches(context)
            restore()


def _run(act: Callable[[], Any], limit: AbstractContextManager[Any]) -> Any:
    own_decimals()
    if settings.DEBUG:
        # As with each request: Django keeps them all.
        db.reset_queries()
    with limit:
        return act()


@contextmanager
def only_here() -> Iterator[None]:
    """A copy that is forked in this block ends where the block does.

    It would settle the job that its original runs, and then run others, over the very same
    connections.
    """
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != here:
            _leave(sys.exception())


def _leave(error: BaseException | None) -> None:
    """End as Python does, and without what an interpreter does at its end: it is not our own."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        code = error.code or 0
    with suppress(Exception):
        if isinstance(error, SystemExit) and code:
            sys.stderr.write(f"{error.code}\n")
        elif error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def own_decimals() -> None:
    """A copy of a context has the same decimal context, and not a copy of that."""
    decimal.setcontext(decimal.getcontext().copy())


def _keep_caches(context: Context) -> None:
    """A cache that each job had to connect to anew would be none."""
    for variable, value in context.items():
        if isinstance(value, BaseCache) and variable.get(None) is not value:
            variable.set(value)


def take(directory: str) -> None:
    """From now on every task leaves this process as it is now. For the main thread of a worker.

    directory: the name of the working directory, which may be gone by now.
    """
    _process[:] = [ProcessState(directory)]
    _log[:] = [LoggingState()]


def is_worn() -> bool:
    """Put the limits of this process back. True if it is not fit for more jobs: they are lower
    for good, or its descriptors are nearly used up.
    """
    if not all(state.restore_limits() for state in _process):
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
    if _process and threading.current_thread() is threading.main_thread():
        _process[0].restore()


def restore_log() -> None:
    """Put back what tasks have changed of the log, and write what they have printed."""
    for state in _log:
        state.restore()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            # Full, closed, or no stream at all: the worker itself does without.
            continue


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


class LoggingState:
    """The loggers of this process as they are now, to be put back later.

    Handlers that are added meanwhile stay; those that are gone come back.
    """

    def __init__(self) -> None:
        names = [name for name in logging.root.manager.loggerDict if name.startswith(LOGGERS)]
        self.loggers = [(one, _Logger(one)) for one in map(logging.getLogger, ["", *names])]
        self.silenced = logging.root.manager.disable
        self.disabled = {one.name for one in _all_loggers() if one.disabled}
        # Whatever configures logging changes one of these.
        self.watched = [logging.getLogger(name) for name in ("", "django_bgtasks", WORKER)]
        self.seen = self._look()

    def restore(self) -> None:
        """Put them back."""
        if logging.root.manager.disable != self.silenced:
            logging.disable(self.silenced)
        if self._look() != self.seen:
            self._restore()
            self.seen = self._look()

    def _look(self) -> list[Any]:
        return [(one.level, one.disabled, one.propagate, one.handlers[:]) for one in self.watched]

    def _restore(self) -> None:
        configured = [state.restore(logger) for logger, state in self.loggers]
        if any(configured):
            # dictConfig() has disabled all loggers that it was not told of.
            for logger in _all_loggers():
                logger.disabled = logger.name in self.disabled


class _Logger:
    def __init__(self, logger: logging.Logger) -> None:
        self.level, self.disabled = logger.level, logger.disabled
        self.propagate, self.handlers = logger.propagate, list(logger.handlers)
        self.filters = list(logger.filters)
        self.targets = [
            (one, one.target) for one in self.handlers if isinstance(one, MemoryHandler)
        ]

    def restore(self, logger: logging.Logger) -> bool:
        """Put this logger back. True if it looks as after dictConfig()."""
        logger.setLevel(self.level)
        configured = logger.disabled != self.disabled
        logger.propagate, logger.disabled = self.propagate, self.disabled
        if not _has(logger.filters, self.filters):
            logger.filters[:] = self.filters
        if not _has(logger.handlers, self.handlers):
            logger.handlers[:] = self.handlers
            configured = True
        for handler, target in self.targets:
            # dictConfig() closes all handlers.
            handler.target = target
        return configured


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


def _has(found: list[Any], wanted: list[Any]) -> bool:
    return all(one in found for one in wanted)


def _all_loggers() -> list[logging.Logger]:
    loggers = list(logging.root.manager.loggerDict.values())
    return [logger for logger in loggers if isinstance(logger, logging.Logger)]
