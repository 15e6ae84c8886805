"""A module of tasks that some workers cannot import, or find a task missing in.

BGTASKS_TEST_MISSING says what is wrong with it in a process.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from django_bgtasks import task

WRONG = os.environ.get("BGTASKS_TEST_MISSING")


class Unprintable(ImportError):
    def __str__(self) -> NoReturn:
        raise ValueError("not this one")


def _fail() -> None:
    if WRONG == "import error":
        raise ImportError("No module named 'pillow'")
    if WRONG == "syntax error":
        compile("def (", "missing_tasks.py", "exec")
    if WRONG == "exit":
        sys.exit("a script, not a module")
    if WRONG == "nul":
        raise RuntimeError("a NUL \0, a lone surrogate \ud800")
    if WRONG == "unprintable":
        raise Unprintable
    if WRONG == "50 MB":
        raise RuntimeError("x" * 50 * 2**20)


_fail()

if WRONG != "removed":

    @task
    def greet(name: str) -> str:
        return f"Hello {name}"


if WRONG == "no task any more":
    greet = greet.func  # type: ignore[assignment]
