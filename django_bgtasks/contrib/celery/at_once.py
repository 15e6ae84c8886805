"""Jobs that run where they are enqueued, for tests that had a worker of Celery's within them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# How many such workers there are, and whether one runs just now.
_workers: list[bool] = []


@contextmanager
def running_at_once() -> Iterator[None]:
    """Within it run_at_once() runs what waits."""
    _workers.append(False)
    try:
        yield
    finally:
        _workers.pop()


def run_at_once() -> None:
    """Run the jobs that are due, if a test has asked for that; a job leaves it to who runs it."""
    from ...testing.running import run_jobs

    if not _workers or _workers[-1]:
        return
    _workers[-1] = True
    try:
        run_jobs()
    finally:
        _workers[-1] = False
