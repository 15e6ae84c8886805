"""Standard output and error of a worker, which work goes on without.

They may be closed from the start, their disk may be full, and who reads them may be gone.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


class _Lenient(io.FileIO):
    """What cannot be written is lost, and no error of the task that prints it."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return memoryview(data).nbytes  # type: ignore[arg-type]


def make_lenient() -> None:
    """From now on a write to standard output or error succeeds, whatever becomes of it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Else what is opened next, a connection say, would be standard output.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is sys.__stdout__:
        sys.stdout = sys.__stdout__ = _lenient(sys.stdout, 1)  # type: ignore[assignment,misc]
    if sys.stderr is sys.__stderr__:
        sys.stderr = sys.__stderr__ = _lenient(sys.stderr, 2)  # type: ignore[assignment,misc]


def flush_streams() -> None:
    """Write what is buffered; a stream that a task has closed has nothing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _lenient(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        # Closed at the start; by now the number may belong to another file.
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = _Lenient(number, "w", closefd=False)
    # As Python does it: with -u there is no buffer.
    unbuffered = isinstance(stream.buffer, io.RawIOBase)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        # Also into a pipe: a line that was printed must not be lost with a process that is killed.
        line_buffering=True,
        write_through=stream.write_through,
    )
