"""Copies of this process that a task forks: none of them goes on as a second worker."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def only_here() -> Iterator[None]:
    """A copy that is forked in this block ends where the block does.

    It would settle the job that its original runs, and then run others, over the very same
    connections.
    """
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != here:
            _leave(sys.exception())


def _leave(error: BaseException | None) -> None:
    """End as Python does, and without what an interpreter does at its end: it is not our own."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        code = error.code or 0
    with suppress(Exception):
        if isinstance(error, SystemExit) and code:
            sys.stderr.write(f"{error.code}\n")
        elif error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
