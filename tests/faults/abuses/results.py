"""What a task returns."""

from __future__ import annotations

from typing import Any

from .kinds import MIB, kind


@kind
def returns_nul() -> str:
    return "a\0b"


@kind
def returns_surrogate() -> dict[str, str]:
    return {"a": "\udfff"}


@kind
def returns_nan() -> list[float]:
    return [float("nan")]


@kind
def returns_object() -> object:
    return object()


@kind
def returns_10_mb() -> str:
    return "x" * (10 * MIB)


@kind
def returns_bytes() -> bytes:
    return b"\xff\xfe"


@kind
def returns_itself() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle
