"""Maintenance task: add up what has become of jobs, for the charts."""

from __future__ import annotations

from ...core import clock
from ...monitoring import rollups, totals
from .rest import rest_after

EVERY = 10.0
# What is looked through each time, and what every LOOK_BACK_EVERY seconds, for late settlements.
RECENT_MINUTES, LOOK_BACK_MINUTES, LOOK_BACK_EVERY = 3, 60, 300.0


class RollUps:
    """One maintenance's adding up; any number may do it at once."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._look_back_at = 0.0

    def run_once(self) -> float:
        """Add up what has ended lately. Returns the seconds to wait until the next run_once."""
        start = clock.monotonic()
        if start >= self._look_back_at:
            self._look_back_at = start + LOOK_BACK_EVERY
            run_once(self.using, LOOK_BACK_MINUTES)
            totals.advance(self.using)
            rollups.prune_rollups(self.using, totals.watermark(self.using))
        else:
            run_once(self.using)
        # The more ends, the longer it takes to count it.
        return rest_after(start, EVERY)


def run_once(using: str, minutes: int = RECENT_MINUTES) -> int:
    """Add up what ended in the last minutes. Returns how many figures were written."""
    written = rollups.add_up_ended(minutes, using)
    for span in sorted(rollups.RETENTION_DAYS)[1:]:
        written += rollups.add_up_minutes(span, minutes, using)
    return written
