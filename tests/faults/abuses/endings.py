"""How a task's process ends, and what does not end."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress

from django_bgtasks.core.errors import Interruption

from .kinds import kind


@kind
def exits_0() -> None:
    os._exit(0)


@kind
def exits_1() -> None:
    os._exit(1)


@kind
def aborts() -> None:
    os.abort()


@kind
def is_killed() -> None:
    """As the kernel does to one that holds too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@kind
def terminates_itself() -> None:
    """A stop of this process alone: it ends after the job, and another takes its place."""
    os.kill(os.getpid(), signal.SIGTERM)


@kind
def loops() -> None:
    while True:
        pass


@kind
def swallows_the_timeout() -> None:
    while True:
        with suppress(Interruption):
            time.sleep(0.05)


@kind
def blocks_all_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(60)


@kind
def hangs_with_the_gil() -> None:
    """No Python code runs any more, in no thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(60)


@kind
def hangs_while_it_is_described() -> None:
    class Endless(Exception):
        def __str__(self) -> str:
            time.sleep(60)
            return "at last"

    raise Endless
