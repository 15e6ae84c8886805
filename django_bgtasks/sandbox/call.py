"""Run a task: in a context of its own, within its limits; what it leaves behind is put back.

Each job has a context of its own: language, time zone, URL conf, and all context variables. What is
per thread or per context in Django would reach the next job of the thread: here is no end of a
request, at which Django forgets it.

At a limit the task gets an exception. In the main thread a signal brings it. In other threads it is
put into the thread, between two bytecodes (`PyThreadState_SetAsyncExc`), so a call into C ends
first; somebody has to look at the clock there, and call interrupt_overdue(). A coroutine gets it
where it awaits. The supervisor kills what outlives its limits, with its process.
"""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import Context, copy_context
from functools import partial
from types import FrameType
from typing import Any

from django import db
from django.conf import settings
from django.core.cache.backends.base import BaseCache

from ..core import clock
from ..core.errors import Interruption, JobCancelled, JobTimeout
from .restore import CANCEL_SIGNAL, SessionGuard, get_handler, restore, set_handler

# So much earlier than the clock says an alarm may come.
EARLY = 0.05
# A timer that is due already is set to so many seconds: 0 would stop it.
SHORTEST = 0.001
# Whether a cancellation is meant for the job that runs now; the worker knows.
_is_cancelled: list[Callable[[], bool]] = []
# Called before a task is interrupted: if it goes on all the same, it is killed.
_before: list[Callable[[], object]] = []
# Entered while a job is settled: it keeps the supervisor from killing the process meanwhile.
_pause: list[Callable[[Any], AbstractContextManager[object]]] = []
_thread_limits: dict[int, ThreadLimit] = {}


def run_in_sandbox(act: Callable[[], Any], limit: TimeLimit) -> Any:
    """Return what act() returns, and put back what it has changed; inline and in threads alike.

    limit: of the time that act() has. Raises what act() raises, and RuntimeError where it left a
    transaction open.
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


def _run(act: Callable[[], Any], limit: TimeLimit) -> Any:
    own_decimals()
    if settings.DEBUG:
        # As with each request: Django keeps them all.
        db.reset_queries()
    return limit.run(act)


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


def confirm_cancellation(is_cancelled: Callable[[], bool]) -> None:
    """Ask this before raising JobCancelled: the signal may arrive when the next job runs."""
    _is_cancelled[:] = [is_cancelled]


def before_interruption(act: Callable[[], object]) -> None:
    """Call this before a task is interrupted. It runs in a signal handler, and raises nothing."""
    _before[:] = [act]


def pause_limits_by(pause: Callable[[Any], AbstractContextManager[object]]) -> None:
    """Enter this around each settlement that is written for one job alone; it gets the job."""
    _pause[:] = [pause]


def limits_paused(job: Any) -> AbstractContextManager[object]:
    """In this block no worker kills its process because of the job's timeout.

    While an attempt is settled its time does not count: a database may be away, or a row locked.
    """
    return _pause[0](job) if _pause else nullcontext()


def deadline(seconds: float) -> TimeLimit:
    """JobTimeout is raised after so many seconds, JobCancelled at a cancellation.

    Signals reach only the main thread.
    """
    in_main = threading.current_thread() is threading.main_thread()
    return Alarm(seconds) if in_main else ThreadLimit(seconds)


class TimeLimit:
    """What runs within it can be interrupted; by this one it is not."""

    is_open = False

    def run(self, act: Callable[[], Any]) -> Any:
        """Return what act() returns, or raise what it raises. No interruption comes later."""
        try:
            self.open()
            try:
                return act()
            finally:
                self.is_open = False
                self.close()
        except Interruption as error:
            # It may have come when act() had ended, and in the middle of close().
            self.is_open = False
            self.close()
            self.explain(error)
            raise

    def open(self) -> None:
        """Interrupt from now on."""

    def close(self) -> None:
        """Interrupt no more; safe to call again."""

    def explain(self, error: Interruption) -> None:
        """Give an interruption its text if it has none."""


class Alarm(TimeLimit):
    """In the main thread: JobTimeout after so many seconds, JobCancelled at CANCEL_SIGNAL.

    A timer of somebody else's, such as that of a job in whose time this one runs, goes on
    afterwards.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._begin = seconds, clock.monotonic()
        self._other = 0.0, 0.0
        self._handlers: dict[int, Any] = {}

    def open(self) -> None:
        """Interrupt from now on."""
        self.is_open = True
        for number in (signal.SIGALRM, CANCEL_SIGNAL) if _is_cancelled else (signal.SIGALRM,):
            self._handlers[number] = get_handler(number)
            set_handler(number, self._interrupt)
        self._other = signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def close(self) -> None:
        """Interrupt no more: a late signal must not hit the settlement."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers.items():
            set_handler(number, handler)
        if self._other[0]:
            left = self._other[0] - (clock.monotonic() - self._begin)
            signal.setitimer(signal.ITIMER_REAL, max(left, SHORTEST), self._other[1])

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        # Neither is meant for this job if it was sent to the whole process group, say.
        if signum == CANCEL_SIGNAL:
            is_due = all(ask() for ask in _is_cancelled)
        else:
            is_due = clock.monotonic() >= self._begin + self._seconds - EARLY
        if self.is_open and is_due:
            for act in _before:
                act()
            raise _interruption(signum == CANCEL_SIGNAL, self._seconds)


@contextmanager
def limits_held() -> Iterator[None]:
    """Around another job that runs and is settled within one: the limits of the one around are
    raised at the end of this block, and not in the other one.
    """
    if threading.current_thread() is not threading.main_thread():
        limit = _thread_limits.get(threading.get_ident())
        with limit.deferred() if limit is not None else nullcontext():
            yield
        return
    asks, cancelled = _is_cancelled[:], list[int]()
    start, (left, interval) = clock.monotonic(), signal.setitimer(signal.ITIMER_REAL, 0)
    before = None
    if asks:
        before = set_handler(CANCEL_SIGNAL, lambda number, frame: cancelled.append(number))
        # The signal is not for the jobs within.
        _is_cancelled.clear()
    try:
        yield
    finally:
        _is_cancelled[:] = asks
        if asks:
            set_handler(CANCEL_SIGNAL, before)
        over = left - (clock.monotonic() - start) if left else 0.0
        if over > 0:
            signal.setitimer(signal.ITIMER_REAL, over, interval)
        if cancelled:
            signal.raise_signal(CANCEL_SIGNAL)
        if left and over <= 0:
            # Now, and not in the next job that runs here.
            signal.setitimer(signal.ITIMER_REAL, interval, interval)
            signal.raise_signal(signal.SIGALRM)


@contextmanager
def on_cancellation(act: Callable[[], None]) -> Iterator[None]:
    """Call act() at CANCEL_SIGNAL in this block; it runs in a signal handler of the main thread."""
    if not _is_cancelled or threading.current_thread() is not threading.main_thread():
        # Outside of a worker the signal means something else, if anything.
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


class ThreadLimit(TimeLimit):
    """In this thread, whichever it is: somebody else calls interrupt().

    seconds: after which interrupt_overdue() raises JobTimeout in it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.until = seconds, clock.monotonic() + seconds
        self._thread, self._lock = threading.get_ident(), threading.Lock()
        self._raised: type[Interruption] | None = None
        self._around = _thread_limits.get(self._thread)
        self._is_deferred, self._later = False, list[type[Interruption]]()

    def open(self) -> None:
        """Interrupt from now on."""
        self.is_open = True
        _thread_limits[self._thread] = self

    def close(self) -> None:
        """Interrupt no more."""
        self._wait_for_others()
        if self._raised is not None:
            # One that has not been raised yet must not hit the settlement.
            _put(self._thread, None)
        if _thread_limits.get(self._thread) is self:
            if self._around is None:
                del _thread_limits[self._thread]
            else:
                _thread_limits[self._thread] = self._around

    def explain(self, error: Interruption) -> None:
        """Into a thread a class is put, which has no text."""
        if type(error) is self._raised and not error.args:
            whole = _interruption(self._raised is JobCancelled, self.seconds)
            error.args, error.reason = whole.args, whole.reason

    def interrupt(self, kind: type[Interruption]) -> None:
        """Raise this in what runs here, once, if it has not ended."""
        with self._lock:
            if self._is_deferred:
                self._later.append(kind)
            elif self.is_open and self._raised is None:
                self._raised = kind
                _put(self._thread, kind)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Raise nothing in this block, and what there was at its end."""
        self._is_deferred = True
        self._wait_for_others()
        try:
            yield
        finally:
            self._is_deferred = False
            self._wait_for_others()
            if clock.monotonic() > self.until:
                self._later.append(JobTimeout)
            for kind in self._later[:1]:
                self.interrupt(kind)

    def _wait_for_others(self) -> None:
        """Until nobody is in the middle of interrupt().

        The lock is not taken here: with an interruption on its way nobody would give it back.
        """
        while self._lock.locked():
            time.sleep(0)

    @property
    def outermost(self) -> ThreadLimit:
        """Of the job that this thread was given: others may run within it."""
        return self if self._around is None else self._around.outermost


def interrupt_overdue() -> None:
    """Raise JobTimeout in all blocks whose time is up."""
    now = clock.monotonic()
    for limit in list(_thread_limits.values()):
        if now > limit.until:
            limit.interrupt(JobTimeout)


def cancel_thread(thread: int) -> None:
    """Raise JobCancelled in the block of this thread."""
    limit = _thread_limits.get(thread)
    if limit is not None:
        limit.outermost.interrupt(JobCancelled)


class LimitedCoroutine:
    """A coroutine with limits. It may run in another thread, where no exception reaches it.

    function: called without arguments on the event loop; gives what is awaited. seconds: its time.
    """

    def __init__(self, function: Callable[[], Awaitable[Any]], seconds: float) -> None:
        self._function, self._seconds = function, seconds
        self._stop: Callable[[], object] | None = None
        self._is_cancel_requested = False

    def cancel(self) -> None:
        """Raise JobCancelled where the coroutine awaits; from any thread or signal handler.

        Once: what it awaits to clean up is let alone.
        """
        if self._is_cancel_requested:
            return
        self._is_cancel_requested = True
        # Read once: it may end meanwhile.
        stop = self._stop
        if stop is not None:
            stop()

    async def run(self) -> Any:
        """Await the coroutine. Raises JobTimeout or JobCancelled at its limits."""
        running, loop = asyncio.current_task(), asyncio.get_running_loop()
        if running is not None:
            self._stop = partial(loop.call_soon_threadsafe, running.cancel)
        try:
            if self._is_cancel_requested:
                raise asyncio.CancelledError
            async with asyncio.timeout(self._seconds) as limit:
                with only_here():
                    return await self._function()
        except TimeoutError:
            # The coroutine may raise a TimeoutError of its own.
            if not limit.expired():
                raise
            raise _interruption(False, self._seconds) from None
        except asyncio.CancelledError:
            if not self._is_cancel_requested:
                raise
            raise _interruption(True, self._seconds) from None
        finally:
            self._stop = None


def _interruption(cancelled: bool, seconds: float) -> Interruption:
    if cancelled:
        return JobCancelled.of("cancelled")
    return JobTimeout.of("timeout", seconds=f"{seconds:g}")


def _put(thread: int, kind: type[Interruption] | None) -> None:
    error = ctypes.py_object() if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
