"""Get and set signal handlers without the enumerations that Python's own functions make of them.

These take longer than all the rest, and several handlers are set around each task. What one of the
two returns is for the other one only.
"""

from __future__ import annotations

import signal
from typing import Any

try:
    import _signal as lean  # type: ignore[import-not-found]
except ImportError:
    lean = signal


def get_handler(number: int) -> Any:
    """The handler of this signal, as set_handler() takes it."""
    return lean.getsignal(number)


def set_handler(number: int, handler: Any) -> Any:
    """Set a handler, and return the one before."""
    return lean.signal(number, handler)
