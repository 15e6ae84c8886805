"""This package, with its defaults."""

from __future__ import annotations

import sys

from django_bgtasks import RESULTS, chain, group, task

from . import body


@task
def noop(number: int) -> int:
    """Nothing."""
    return body.noop(number)


@task
def nap(number: int, seconds: float) -> int:
    """Write, sleep, and write."""
    return body.nap(number, seconds)


@task
def join(key: str, results: list[int]) -> None:
    """Write how many results there are."""
    body.join(key, results)


@task
def last(key: str) -> None:
    """Write that the chain has ended."""
    body.last(key)


def command() -> list[str]:
    """The worker."""
    return [sys.executable, "-m", "django", "bgworker", "--processes", "2"]


def start_chord(key: str, size: int, seconds: float = 0.0) -> None:
    """Enqueue a group, and a step that gets its results."""
    steps = (nap.step(n, seconds) if seconds else noop.step(n) for n in range(size))
    chain(group(steps), join.step(key, RESULTS)).enqueue()


def start_chain(key: str, size: int) -> None:
    """Enqueue so many steps, one after another."""
    chain(*(noop.step(n) for n in range(size - 1)), last.step(key)).enqueue()
