"""The settings of a process whose clock is wrong, from before Django starts.

Only the clock of the day is shifted, as on a host with a wrong time: `CLOCK_MONOTONIC` is not, and
neither is that of the database. BGTASKS_TEST_SHIFT: seconds. BGTASKS_TEST_STEP: by so many more
seconds the clock jumps at each SIGUSR2.
"""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from types import FrameType

import time_machine

SHIFT, STEP = "BGTASKS_TEST_SHIFT", "BGTASKS_TEST_STEP"

_wrong = datetime.now(UTC) + timedelta(seconds=float(os.environ.get(SHIFT, "0")))
_clock = time_machine.travel(_wrong, tick=True).start()


def _step(signum: int, frame: FrameType | None) -> None:
    _clock.shift(float(os.environ[STEP]))


signal.signal(signal.SIGUSR2, _step)

from tests.settings import *  # noqa: E402, F403
