"""Each kind of abuse is a function of no arguments, found by its name."""

from __future__ import annotations

from collections.abc import Callable

Kind = Callable[[], object]
KINDS: dict[str, Kind] = {}
MIB = 2**20
# What a task leaves to the next one is kept from the collector here.
left: list[object] = []


def kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function
