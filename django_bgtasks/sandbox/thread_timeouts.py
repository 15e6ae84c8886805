"""Time limits in threads: an exception is put into the thread whose time is up.

Python raises it between two bytecodes (`PyThreadState_SetAsyncExc`), so a call into C ends first;
what hangs in one is ended by the supervisor, with its process. Somebody has to look at the clock:
a worker's keeper calls strike_overdue().
"""

from __future__ import annotations

import ctypes
import threading
from types import TracebackType

from ..core import clock
from ..core.errors import Interruption, JobCancelled, JobTimeout

_limits: dict[int, ThreadLimit] = {}


class ThreadLimit:
    """A block of this thread that JobTimeout or JobCancelled can be raised in, and only there.

    seconds: after which strike_overdue() raises JobTimeout in it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.until = seconds, clock.monotonic() + seconds
        self._thread, self._lock = threading.get_ident(), threading.Lock()
        self._struck: type[Interruption] | None = None
        self._open = False

    def __enter__(self) -> None:
        self._open = True
        _limits[self._thread] = self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._open = False
            if self._struck is not None:
                # One that has not been raised yet must not hit the settlement.
                _put(self._thread, None)
        _limits.pop(self._thread, None)
        if error is not None and kind is self._struck and not error.args:
            error.args = (self._text(),)

    def strike(self, kind: type[Interruption]) -> None:
        """Raise this in the block, once, if it has not ended."""
        with self._lock:
            if self._open and self._struck is None:
                self._struck = kind
                _put(self._thread, kind)

    def _text(self) -> str:
        if self._struck is JobCancelled:
            return "Cancelled on request."
        return f"The attempt took longer than its timeout of {self.seconds:g} s."


def strike_overdue() -> None:
    """Raise JobTimeout in all blocks whose time is up."""
    now = clock.monotonic()
    for limit in list(_limits.values()):
        if now > limit.until:
            limit.strike(JobTimeout)


def strike_cancelled(thread: int) -> None:
    """Raise JobCancelled in the block of this thread."""
    limit = _limits.get(thread)
    if limit is not None:
        limit.strike(JobCancelled)


def _put(thread: int, kind: type[Interruption] | None) -> None:
    error = ctypes.py_object() if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
