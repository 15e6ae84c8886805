"""A provider of the site that knows where cities are, and takes two calls at once and no more.

It stands for somebody else's server: it is slow, and refuses a third call, of any process.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.conf import settings

AT_ONCE = 2
# Latitude and longitude in degrees.
CITIES = {
    "Bergen": (60.39, 5.32),
    "Gdańsk": (54.35, 18.65),
    "Graz": (47.07, 15.44),
    "Leuven": (50.88, 4.70),
    "Lyon": (45.76, 4.84),
    "Malmö": (55.60, 13.00),
    "Porto": (41.15, -8.61),
    "Turin": (45.07, 7.69),
}


class TooManyCallsError(Exception):
    """What a real provider answers with status 429."""


def locate(name: str) -> tuple[float, float] | None:
    """Where a city is; None if the provider does not know it. TooManyCallsError when it is busy."""
    with line():
        time.sleep(settings.GEOCODER_SECONDS)
        return CITIES.get(name)


@contextmanager
def line() -> Iterator[None]:
    """One of the provider's lines; a process that dies hangs up."""
    settings.GEOCODER_DIRECTORY.mkdir(exist_ok=True)
    for number in range(AT_ONCE):
        with ExitStack() as stack:
            file = stack.enter_context((settings.GEOCODER_DIRECTORY / str(number)).open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield
            return
    raise TooManyCallsError(f"All {AT_ONCE} lines of the provider are taken.")
