"""The soft time limit of a task, within the timeout of its job."""

from __future__ import annotations

import threading
from typing import Any

from ...core.errors import JobTimeout
from ...sandbox.call import Alarm, ThreadLimit, TimeLimit, deadline
from .mixed import is_mixed, timeout_class


def soft_limit(seconds: float) -> TimeLimit:
    """A time limit that raises SoftTimeLimitExceeded, by whichever name the task catches it."""
    if not is_mixed():
        return deadline(seconds)
    in_main = threading.current_thread() is threading.main_thread()
    return _SoftAlarm(seconds) if in_main else _SoftThreadLimit(seconds)


class _SoftAlarm(Alarm):
    def _interrupt(self, signum: int, frame: Any) -> None:
        try:
            super()._interrupt(signum, frame)
        except JobTimeout as error:
            both = timeout_class()(*error.args)
            both.reason = error.reason
            raise both from None


class _SoftThreadLimit(ThreadLimit):
    def interrupt(self, kind: Any) -> None:
        """Raise this, or what both take for it."""
        super().interrupt(timeout_class() if kind is JobTimeout else kind)
