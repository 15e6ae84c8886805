"""What a task leaves behind is put back after it: its process, its log, its database sessions.

Of the process it is what the worker itself needs for its time limits, its stop, its settlements and
its log, and what would make other tasks fail or write something else. Environment and modules are
the site's: what a library sets up at its first use must last. So do the log handlers that it adds.
Database connections are looked after around a job as Django does it around a request.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from logging.handlers import MemoryHandler
from types import TracebackType
from typing import Any

from django.db import connections

from ..core import clock
from ..ledger.connection import (
    end_session,
    has_open_transaction,
    is_closed,
    leaves_transaction_unseen,
    session_of,
)

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
LIMITS = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_AS,
    resource.RLIMIT_DATA,
    resource.RLIMIT_STACK,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NPROC,
)
# What comes from the last two, of a profiler say, ends a process that does not expect it.
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# Of the descriptors that the process may have. A task that leaks them has soon used them up.
USED_UP = 0.9
# The loggers that a task which configures logging must not silence.
LOGGERS = ("django_bgtasks", "django.tasks", "django_tasks")
WORKER = "django_bgtasks.worker"
_process: list[ProcessState] = []
_log: list[LoggingState] = []
LEFT_OPEN = (
    "The task left a transaction open; what it wrote there was rolled back. "
    "Use `with transaction.atomic():`."
)
ENDED = (
    "The task ended the transaction that it runs in: with atomic=True the worker commits it. "
    "Leave out COMMIT and ROLLBACK, or atomic=True."
)
# After so many seconds without a look a connection is asked whether it still lives: servers, and
# what is between, end sessions that say nothing.
ASK_AFTER = 1.0
_looks = threading.local()


def refresh_connections() -> None:
    """Close what is broken or too old, and what has a transaction open that nobody will end.

    CONN_MAX_AGE = 0 means "for one request" and would cost a worker a new connection for every
    job: a worker keeps such a connection while it lives.
    """
    asks = _have_waited()
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or _end_open_transaction(connection):
            continue
        if is_closed(connection) or (asks and _is_dead(connection)):
            end_session(connection)
            continue
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            connection.close_at = None
        connection.close_if_unusable_or_obsolete()


class SessionGuard:
    """The database sessions of this thread as a task finds them, to be so again after it.

    Made before the task, in its thread. As a context manager it raises RuntimeError where the task
    left a transaction open: its settlement, and all jobs after it, would otherwise hang in that.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, int] = {}
        self._wrappers: dict[str, list[Any]] = {}
        for connection in connections.all(initialized_only=True):
            blocks = self._blocks[connection.alias] = len(_blocks(connection))
            if not blocks:
                _end_open_transaction(connection)
            session = session_of(connection)
            session.used = session.sent = session.sets = False
            self._wrappers[connection.alias] = connection.execute_wrappers[:]

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.restore() and error is None:
            raise RuntimeError(LEFT_OPEN)

    def restore(self) -> bool:
        """Roll back what the task left open, and end the sessions that it changed.

        Returns whether a transaction was left open.
        """
        left_open = False
        for connection in connections.all(initialized_only=True):
            wrappers = self._wrappers.get(connection.alias)
            if wrappers is not None and connection.execute_wrappers != wrappers:
                # All statements of the next job would go through those that were left.
                connection.execute_wrappers[:] = wrappers
            before = self._blocks.get(connection.alias, 0)
            if len(_blocks(connection)) > before:
                left_open |= _leave_blocks(connection, before)
            left_open |= _end_open_transaction(connection)
            if connection.connection is None or connection.in_atomic_block:
                continue
            if leaves_transaction_unseen(connection):
                end_session(connection)
                left_open = True
            elif session_of(connection).is_changed(connection):
                end_session(connection)
        return left_open


def refuse_ended_transaction(using: str) -> None:
    """Raise RuntimeError if an `atomic` task has ended the transaction that it runs in, by SQL.

    What it wrote before would stand whatever becomes of the job.
    """
    connection: Any = connections[using]
    if connection.vendor not in ("postgresql", "sqlite") or not session_of(connection).sent:
        # PostgreSQL's driver begins a transaction with the first statement.
        return
    if not has_open_transaction(connection):
        raise RuntimeError(ENDED)


def kept_usable(using: str) -> AbstractContextManager[None]:
    """Within somebody's transaction, as a test's: an error of the database must not end it.

    What the task wrote before such an error goes with it there; a worker has no such transaction.
    """
    connection: Any = connections[using]
    return _in_savepoint(connection) if connection.in_atomic_block else nullcontext()


def remember_process(directory: str) -> None:
    """From now on every task leaves this process as it is now. For the main thread of a worker.

    directory: the name of the working directory, which may be gone by now.
    """
    _process[:] = [ProcessState(directory)]
    _log[:] = [LoggingState()]


def restore_limits() -> bool:
    """Put the limits of this process back. False if that cannot be: only root may raise them."""
    return all(state.restore_limits() for state in _process)


def is_worn() -> bool:
    """Whether the descriptors of this process are nearly used up."""
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
    _forget_closed_loop()
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
        for timer in TIMERS:
            signal.setitimer(timer, 0)
        faulthandler.cancel_dump_traceback_later()
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


def _forget_closed_loop() -> None:
    """asyncio.get_event_loop() would give it to the next task of this thread."""
    local: Any = getattr(asyncio.events._event_loop_policy, "_local", None)  # type: ignore[attr-defined]
    loop = getattr(local, "_loop", None)
    if loop is not None and loop.is_closed():
        vars(local).clear()


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


def _has(found: list[Any], items: list[Any]) -> bool:
    return all(item in found for item in items)


def _all_loggers() -> list[logging.Logger]:
    loggers = list(logging.root.manager.loggerDict.values())
    return [logger for logger in loggers if isinstance(logger, logging.Logger)]


@contextmanager
def _in_savepoint(connection: Any) -> Iterator[None]:
    savepoint = connection.savepoint()
    try:
        yield
    except BaseException:
        if connection.needs_rollback or not connection.is_usable():
            connection.needs_rollback = False
            connection.savepoint_rollback(savepoint)
        raise
    connection.savepoint_commit(savepoint)


def _have_waited() -> bool:
    """Whether the connections of this thread were not looked at for a while."""
    now = clock.monotonic()
    last, _looks.at = getattr(_looks, "at", now), now
    return now - last > ASK_AFTER


def _is_dead(connection: Any) -> bool:
    """Whether the database does not answer on it any more; one round trip."""
    return connection.connection is not None and not connection.is_usable()


def _leave_blocks(connection: Any, before: int) -> bool:
    """Leave the atomic blocks that are open beyond `before`, as an exception would leave them."""
    left = False
    while len(blocks := _blocks(connection)) > before:
        blocks[-1].__exit__(RuntimeError, RuntimeError("left open"), None)
        left = True
    return left


def _end_open_transaction(connection: Any) -> bool:
    """End a transaction that is open though Django is in no block. Whether there was one."""
    if connection.in_atomic_block or not has_open_transaction(connection):
        return False
    end_session(connection)
    return True


def _blocks(connection: Any) -> list[Any]:
    """The atomic blocks that the connection is in, the outermost first."""
    blocks: list[Any] = connection.atomic_blocks
    return blocks
