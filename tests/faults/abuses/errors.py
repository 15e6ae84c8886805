"""What a task raises."""

from __future__ import annotations

import sys
import threading
from typing import NoReturn

from .kinds import MIB, kind


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __reduce__(self) -> NoReturn:
        raise TypeError("not by pickle")


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise KeyboardInterrupt("not even this")

    __repr__ = __str__


class Unheard(BaseException):
    """Not an Exception."""


@kind
def raises_unpicklable() -> None:
    raise Unpicklable


@kind
def raises_unprintable() -> None:
    raise Unprintable


@kind
def raises_base_exception() -> None:
    raise Unheard("of all")


@kind
def raises_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


@kind
def raises_exit() -> None:
    sys.exit(0)


@kind
def raises_exit_with_text() -> None:
    sys.exit("the task is done with it")


@kind
def raises_nul() -> None:
    raise ValueError("a NUL \0, a lone surrogate \ud800, \x1b[31mred\r\nand more")


@kind
def raises_50_mb() -> None:
    raise ValueError("x" * (50 * MIB))


@kind
def raises_50_mb_wide() -> None:
    """Each character takes 4 bytes of memory, and there are 10 MB of lines."""
    raise ValueError("\U0001f600\n" * (10 * MIB))


@kind
def raises_50_mb_of_notes() -> None:
    error = ValueError("with notes")
    error.add_note("y" * (50 * MIB))
    raise error


@kind
def raises_a_circle() -> None:
    """Each is the cause of the other."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


@kind
def raises_a_long_chain() -> None:
    """Longer than the recursion limit."""
    error: Exception | None = None
    for number in range(5000):
        following = ValueError(f"number {number}")
        following.__cause__, error = error, following
    assert error is not None
    raise error


@kind
def raises_deep_groups() -> None:
    error: Exception = ValueError("the innermost")
    for _ in range(2000):
        error = ExceptionGroup("around", [error])
    raise error


@kind
def runs_out_of_stack() -> object:
    return runs_out_of_stack()
