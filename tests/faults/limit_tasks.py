"""Tasks with limits and sequences that see by themselves how many of them run.

Each locks one file of its key, of which there are as many as may run at once. The lock goes with
the process that is killed; who finds no free file is one too many, and says so.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_bgtasks import Limit, Retry, RetryLater, current_job, task

from .effects import VARIABLE, note

PLACES = 3
# A crash costs an attempt, and these processes are killed all the time.
OFTEN = Retry(max_attempts=1000, delays=[0], jitter=0)


@contextmanager
def one_of(key: str, places: int) -> Iterator[int]:
    """Within it, one of the files of this key is locked by this job. The number of the claim."""
    context = current_job()
    assert context is not None
    job = str(context.job_id)
    for number in range(places):
        file = os.open(f"{os.environ[VARIABLE]}.{key}.{number}", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        try:
            note("begin", job)
            yield context.job.claims
            note("end", job)
        finally:
            os.close(file)
        return
    note("excess", job)
    raise AssertionError(f"{places} others run with the key {key}.")


@task(limit=Limit("hold:{key}", at_once=PLACES), retry=OFTEN)
def hold(key: str, number: int, seconds: float) -> int:
    with one_of(f"hold-{key}", PLACES) as claim:
        time.sleep(seconds)
        return claim


@task(limit=Limit("hold:{key}", at_once=PLACES), retry=OFTEN)
def hold_and_return(key: str, number: int, seconds: float) -> int:
    """Of the same keys; it gives up its place once, for a retry a moment later."""
    with one_of(f"hold-{key}", PLACES) as claim:
        time.sleep(seconds)
        if claim == 1:
            raise RetryLater(0.2)
        return claim


@task(limit=Limit("skip:{key}", at_once=PLACES, when_busy="skip"), retry=OFTEN)
def hold_or_skip(key: str, number: int, seconds: float) -> int:
    with one_of(f"skip-{key}", PLACES) as claim:
        time.sleep(seconds)
        return claim


@task(sequence="turn:{key}", retry=OFTEN)
def take_turn(key: str, number: int, seconds: float) -> int:
    with one_of(f"turn-{key}", 1) as claim:
        time.sleep(seconds)
        if claim == 1 and not number % 10:
            raise RetryLater(0.1)
        return claim


@task(limit=Limit("line:{key}"), retry=OFTEN)
def wait_in_line(key: str, name: str) -> None:
    """Runs until the test opens the gate of this name."""
    _wait(name)


@task(limit=Limit("line:{key}"), on_crash="fail")
def wait_carefully(key: str, name: str) -> None:
    _wait(name)


@task
def wait_alone(key: str, name: str) -> None:
    _wait(name)


def gate_of(name: str) -> Path:
    """The file for which a task with this name waits."""
    return Path(f"{os.environ[VARIABLE]}.{name}.gate")


def _wait(name: str) -> None:
    note("begin", name)
    while not gate_of(name).exists():
        time.sleep(0.01)
