"""Tasks that behave well and badly. What they did stands in an append-only file, `log`."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from django_bgtasks import Retry, task
from django_bgtasks.core.errors import Interruption

AT_ONCE = Retry(max_attempts=5, delays=[0], jitter=0)


def note(log: str, text: str) -> None:
    """One line, in one write: several processes append to this file."""
    with Path(log).open("a") as effects:
        effects.write(f"{text} {os.getpid()}\n")


def began_before(log: str) -> bool:
    """Whether an attempt has begun already; this one begins now."""
    before = Path(log).exists() and "begin" in Path(log).read_text()
    note(log, "begin")
    return before


@task
def record(log: str, text: str) -> int:
    note(log, text)
    return os.getpid()


@task(on_crash="fail")
def record_only_once(log: str, text: str) -> None:
    note(log, text)


@task(queue_name="emails")
def record_email(log: str, text: str) -> None:
    note(log, text)


@task(retry=AT_ONCE)
def wait_at_gate(log: str) -> str:
    """Runs until the test opens the gate."""
    note(log, "begin")
    while not Path(f"{log}.gate").exists():
        time.sleep(0.01)
    note(log, "end")
    return "through"


@task(on_crash="fail")
def wait_at_gate_only_once(log: str) -> None:
    wait_at_gate.func(log)


@task
def sleep_without_mercy(log: str) -> None:
    """Neither a timeout nor a cancellation stops it."""
    note(log, "begin")
    while True:
        with suppress(Interruption):
            time.sleep(0.05)


@task(retry=AT_ONCE)
def swallow_once(log: str) -> str:
    if not began_before(log):
        sleep_without_mercy.func(log)
    return "second"


@task
def sleep(log: str) -> None:
    note(log, "begin")
    time.sleep(60)


@task
def spin(log: str) -> None:
    note(log, "begin")
    while True:
        pass


@task
def hang_in_c(log: str) -> None:
    """No Python code runs any more: the call holds the GIL and no signal ends it."""
    note(log, "begin")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM})
    ctypes.PyDLL(None).sleep(60)


@task
async def sleep_async(log: str) -> None:
    note(log, "begin")
    await asyncio.sleep(60)


@task
def exit_once(log: str) -> str:
    """Ends its process with the exit code of success, the first time."""
    if not began_before(log):
        os._exit(0)
    return "second"


@task(retry=Retry(max_attempts=10))
def crash_always(log: str) -> None:
    note(log, "begin")
    ctypes.string_at(0)


@task(retry=Retry(max_attempts=3, delays=[1.0], jitter=0))
def fail_once(log: str) -> str:
    if not began_before(log):
        raise ValueError("not yet")
    return "second"


@task(takes_context=True)
def attempt_number(context: Any, log: str) -> int:
    number: int = context.attempt
    note(log, f"attempt {number}")
    return number


@task(retry=Retry(max_attempts=6, delays=[0.7], jitter=0), takes_context=True)
def fails_five_times(context: Any) -> int:
    """Takes longer than a process spares a Redis that is away."""
    attempt: int = context.attempt
    if attempt <= 5:
        raise ValueError("not yet")
    return attempt


@task
def nap(log: str, text: str, seconds: float) -> None:
    """Says when it begins, and sleeps."""
    note(log, f"{text}@{time.monotonic():.3f}")
    time.sleep(seconds)


@task(retry=AT_ONCE)
def kill_once(log: str) -> str:
    """Takes its process with it, the first time."""
    if not began_before(log):
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"
