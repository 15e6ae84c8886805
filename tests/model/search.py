"""Breadth first through all states of a model, and the way back to the first one."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django_bgtasks.core.states import FINAL

from . import environment, job_processes
from .protocol import Model, Rules
from .state import DELETED, IN_TIME, UNCOMMITTED, Broken, Row, Seat, Step, Worker, World

ENDED = {*FINAL, DELETED}


class Counterexample(AssertionError):
    """A property that does not hold, and the shortest way there."""

    def __init__(self, text: str, trace: list[str]) -> None:
        self.text, self.trace = text, trace
        super().__init__("\n".join([text, *(f"{n:3} {line}" for n, line in enumerate(trace, 1))]))


@dataclass
class Found:
    """What a search has visited. calm: the edges without a fault, as two columns."""

    worlds: list[World] = field(default_factory=list)
    came_from: array[int] = field(default_factory=lambda: array("l"))
    by: list[tuple[str, str]] = field(default_factory=list)
    calm: tuple[array[int], array[int]] = field(default_factory=lambda: (array("l"), array("l")))
    steps: int = 0

    def trace(self, index: int, last: tuple[str, str] | None = None) -> list[str]:
        """The steps to a state."""
        steps = [last] if last else []
        while index:
            steps.append(self.by[index])
            index = self.came_from[index]
        return [f"{who}: {what}" for what, who in reversed(steps)]


def first(model: Model) -> World:
    """All jobs are enqueued, some not committed yet, their messages sent, all processes idle."""
    left = -1 if model.faults is None else model.faults
    return World(
        rows=tuple(map(_first_row, model.modes)),
        seats=(Seat(),) * (model.workers * model.processes),
        workers=(Worker(),) * model.workers,
        left=left,
    )


def _first_row(mode: str) -> Row:
    row = Row(expiry=IN_TIME * mode.endswith("expires"))
    return row._replace(state=UNCOMMITTED) if mode.endswith("early") else row


def search(model: Model) -> Found:
    """Visit every reachable state. Raises Counterexample at the first property that is broken."""
    start = canonical(model, first(model))
    seen, found = {start: 0}, Found([start])
    found.came_from.append(0)
    found.by.append(("start", ""))
    sources, targets = found.calm
    parts: dict[Any, Any] = {}
    index = 0
    while index < len(found.worlds):
        world, is_calm = found.worlds[index], False
        try:
            for step in steps(model, world):
                found.steps += 1
                after = canonical(model, step.world)
                number = seen.get(after, -1)
                if number < 0:
                    # The parts of states are few: each is kept once.
                    after = World(*(parts.setdefault(part, part) for part in after))
                    number = seen[after] = len(found.worlds)
                    found.worlds.append(after)
                    found.came_from.append(index)
                    found.by.append((step.what, step.who))
                if step.calm:
                    is_calm = True
                    sources.append(index)
                    targets.append(number)
        except Broken as broken:
            raise Counterexample(str(broken), found.trace(index, broken.step)) from None
        if not is_calm and not all(row.state in ENDED for row in world.rows):
            raise Counterexample("a job is lost: nothing more will happen", found.trace(index))
        index += 1
    _confirm_that_calm_ends(found)
    return found


def steps(model: Model, world: World) -> Iterator[Step]:
    """All that can happen next. A fault is one fewer that is left, if they are counted."""
    for seat in range(len(world.seats)):
        for step in job_processes.steps(model, world, seat):
            yield _counted(step, world)
    for step in environment.steps(model, world):
        yield _counted(step, world)


def _counted(step: Step, world: World) -> Step:
    if step.calm or world.left < 0:
        return step
    return step._replace(world=step.world._replace(left=world.left - 1))


def canonical(model: Model, world: World) -> World:
    """One of the states that differ only by the names of equal workers or processes."""
    if model.rules != Rules():
        # The way to what is wrong there is to be read.
        return world
    if model.workers == 1:
        return world._replace(seats=tuple(sorted(world.seats)))
    if model.processes > 1 or model.workers != 2:
        return world
    # Most pairs differ at the first look: only equal ones are worth a full comparison.
    here, there = (world.seats, world.workers), (world.seats[::-1], world.workers[::-1])
    if here < there:
        return world
    other = _swapped(world)
    return other if there < here else min(world, other)


def _swapped(world: World) -> World:
    return World(
        tuple(r if r.worker < 0 else r._replace(worker=1 - r.worker) for r in world.rows),
        world.seats[::-1],
        world.workers[::-1],
        tuple(
            sorted(
                late if late.worker < 0 else late._replace(worker=1 - late.worker)
                for late in world.late
            )
        ),
        world.left,
    )


def _confirm_that_calm_ends(found: Found) -> None:
    """No circle of calm steps: once the faults stop, every history ends, and all jobs are final."""
    sources, targets = found.calm
    incoming = array("l", [0]) * len(found.worlds)
    after: list[list[int]] = [[] for _ in found.worlds]
    for source, target in zip(sources, targets, strict=True):
        after[source].append(target)
        incoming[target] += 1
    ready = [index for index, count in enumerate(incoming) if not count]
    ended = 0
    while ready:
        ended += 1
        for target in after[ready.pop()]:
            incoming[target] -= 1
            if not incoming[target]:
                ready.append(target)
    if ended < len(found.worlds):
        circling = next(index for index, count in enumerate(incoming) if count)
        raise Counterexample("a circle without faults", found.trace(circling))
