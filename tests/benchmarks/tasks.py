"""The tasks that are measured."""

from __future__ import annotations

import os
import time

from django_bgtasks import task


@task
def note_begin(log: str, seconds: float = 0) -> None:
    """Write when it began, and sleep. time.monotonic() is one clock for all processes of a host."""
    began = time.monotonic()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{began!r}\n".encode())
    os.close(file)
    if seconds:
        time.sleep(seconds)
