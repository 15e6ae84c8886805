"""Tasks that hold secrets, and tasks that would like to write the worker's log themselves."""

from __future__ import annotations

from typing import Any

from django_bgtasks import task

# What would end a line, begin a forged one, clear the screen, paint it, ring, or turn text around.
NASTY = {
    "lf": "a\n2026-01-01 00:00:00,000 INFO    [1] job=forged outcome=succeeded",
    "cr": "a\r2026-01-01 00:00:00,000 INFO    [1] job=forged outcome=succeeded",
    "ansi": "a\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "c1": "a\x9b2J\x85next",
    "nul": "a\0b",
    "unicode": "a\u2028b\u2029c\u202etxet\ufeff",
    "other": "a\v\f\x1c\x1d\x7f\b\b\b",
}


class Named(Exception):
    """An exception whose class has a nasty name too."""


@task
def shout(kind: str) -> None:
    text = NASTY[kind]
    raise type(f"Named{text}", (Named,), {})(text)


@task
def whisper(text: str) -> str:
    return text


@task(sensitive=("iban", "rest"), dedup_key="pay:{iban}", on_duplicate="raise")
def pay(order: int, iban: str, *rest: str, headers: Any = None, password: str = "") -> Any:
    """Fails as a task does that says too much."""
    if order < 0:
        raise ValueError(f"{iban} with {password!r} and {rest} is refused")
    return {"order": order, "receipt": {"token": password}}


@task
def fill(size: int) -> str:
    """A result of so many bytes of JSON."""
    return "x" * (size - 2)


@task
def overflow(size: int) -> None:
    """A traceback of more than so many characters."""
    raise ValueError("first words " + "x" * size + " last words")
