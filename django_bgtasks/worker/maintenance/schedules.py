"""Maintenance task: write the schedules of the code at the start, and fire those that are due."""

from __future__ import annotations

from ...core import clock
from ...schedules.code import write_declared
from ...schedules.fire import Firing

# The longest wait: a schedule that is new, or edited, is seen within it.
LONGEST_WAIT = 1.0
# For so long it fires at once: other tasks of maintenance have their turn between.
SECONDS = 1.0


class Schedules:
    """One maintenance's firing; any number may do it at once."""

    def __init__(self, backend: str, using: str) -> None:
        self.backend, self.using = backend, using
        self._firing = Firing(backend, using)
        self._is_written = False

    def run_once(self) -> float:
        """Fire what is due. Returns the seconds to wait until the next run_once."""
        if not self._is_written:
            write_declared(self.backend, self.using)
            self._is_written = True
        wait = self._firing.seconds_to_next()
        if wait == 0:
            end = clock.monotonic() + SECONDS
            self._firing.fire_due(seconds=SECONDS)
            if clock.monotonic() >= end:
                # There may be more.
                return 0.0
            wait = self._firing.seconds_to_next(later=True)
        return LONGEST_WAIT if wait is None else min(LONGEST_WAIT, wait)
