"""What the jobs of every system do: they log that they began and that they ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.faults.effects import VARIABLE, note

LONGEST_WAIT = 150.0


def body(key: str, nap: float = 0.0, gated: bool = False) -> None:
    """Begin, be busy for `nap` seconds, wait until the gate is open if it is `gated`, and end."""
    note("begin", key)
    time.sleep(nap)
    end = time.monotonic() + LONGEST_WAIT
    gate = Path(f"{os.environ[VARIABLE]}.gate")
    while gated and not gate.exists() and time.monotonic() < end:
        time.sleep(0.01)
    note("end", key)
