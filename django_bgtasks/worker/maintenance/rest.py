"""How long a maintenance task rests, so that it takes a small share of one core."""

from __future__ import annotations

from ...core import clock

SHARE = 0.02
LONGEST = 60.0


def rest_after(start: float, every: float, longest: float = LONGEST, share: float = SHARE) -> float:
    """The seconds from now to the next run of what began at `start`, `every` at least.

    longest: bounds them, for what took so long may have waited for a lock, or the host stood still.
    share: of one core, at most.
    """
    return max(every, min(longest, (clock.monotonic() - start) / share))
