"""Breadth first through all states of a small model, and the way back to the first one."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .search import Counterexample


class Step(NamedTuple):
    """A move to another state. calm: neither a fault nor a wish."""

    calm: bool
    what: str
    world: Any


class Broken(Exception):
    """A property does not hold."""


def explore(
    start: Any,
    steps: Callable[[Any], Iterator[Step]],
    confirm: Callable[[Any], None],
    confirm_end: Callable[[Any], None],
) -> int:
    """Visit every state; how many there are. Raises Counterexample at the first that is wrong.

    confirm, confirm_end: raise Broken for a state that is wrong, or in which nothing more happens.
    """
    seen, worlds, came_from, by = {start: 0}, [start], array("l", [0]), [""]
    calm: list[set[int]] = []

    def trace(index: int) -> list[str]:
        lines = []
        while index:
            lines.append(by[index])
            index = came_from[index]
        return lines[::-1]

    for index, world in enumerate(worlds):  # it grows
        after: set[int] = set()
        try:
            confirm(world)
            for step in steps(world):
                number = seen.setdefault(step.world, len(worlds))
                if number == len(worlds):
                    worlds.append(step.world)
                    came_from.append(index)
                    by.append(step.what)
                if step.calm:
                    after.add(number)
            if not after:
                confirm_end(world)
        except Broken as broken:
            raise Counterexample(str(broken), trace(index)) from None
        calm.append(after)
    circling = _circle(calm)
    if circling is not None:
        raise Counterexample("a circle of calm steps", trace(circling))
    return len(worlds)


def _circle(calm: list[set[int]]) -> int | None:
    """A state that calm steps come back to for ever, if there is one."""
    incoming = array("l", [0]) * len(calm)
    for after in calm:
        for number in after:
            incoming[number] += 1
    ready = [number for number, count in enumerate(incoming) if not count]
    while ready:
        for number in calm[ready.pop()]:
            incoming[number] -= 1
            if not incoming[number]:
                ready.append(number)
    return next((number for number, count in enumerate(incoming) if count), None)
