"""Two maintenance processes and one schedule, people who edit it, and an exhaustive search of it.

The times are those of core.timing: the model asks the package what a turn does. A transaction holds
the schedule's row from its UPDATE to its COMMIT, who else wants to write it waits; a process that
dies before the COMMIT has written nothing. In a page of several schedules the row is locked when it
is read, and who else wants a page goes without it; what fails in another row of the page undoes
all, and then the row is fired alone, as it was read.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from django_bgtasks.core.timing import Every, plan

from .search import Counterexample

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
# Seconds between the ticks, before an edit and after one: they share each sixth.
STEPS = (2, 3)

# Where a process is.
IDLE = "idle"
READ = "read"  # it has read the row and decided
LOCKED = "locked"  # so it has in a page: in a transaction that holds the row from then on
MOVED = "moved"  # its UPDATE has moved next_at: it holds the row
INSERTED = "inserted"  # its jobs are inserted too
COMMITTED = "committed"  # it has yet to push

Tick = tuple[int, int]  # of which schedule, and when


class Row(NamedTuple):
    """A schedule. edits: what its revision counts; a job says at which it was made."""

    id: int = 0
    step: int = STEPS[0]
    next_at: int = STEPS[0]
    edits: int = 0
    paused: bool = False


class Process(NamedTuple):
    """A maintenance process: the row that it has read, and what it does with that."""

    at: str = IDLE
    row: Row = Row()
    ticks: tuple[int, ...] = ()
    next_at: int = 0


class World(NamedTuple):
    """A state of the model.

    jobs: the rows that are there. sent: those of them with a message. made: how often a job was
    made of a tick, whatever became of it. due: the ticks that must have a job in the end.
    wishes, faults: how many more edits and deaths there may be.
    """

    row: Row = Row()
    now: int = 0
    processes: tuple[Process, Process] = (Process(), Process())
    jobs: frozenset[Tick] = frozenset()
    sent: frozenset[Tick] = frozenset()
    made: tuple[Tick, ...] = ()
    due: frozenset[Tick] = frozenset()
    wishes: int = 2
    faults: int = 1


class Step(NamedTuple):
    """A move to another state. calm: neither a fault nor a wish."""

    calm: bool
    what: str
    world: World


@dataclass(frozen=True)
class Rules:
    """The protocol, or it without one of its rules.

    compares: what the UPDATE asks of the row. inserts: "inside" the transaction that moves, or
    after it. unique: the index on (schedule, tick). redispatches: rows without a message get one.
    """

    compares: frozenset[str] = frozenset({"next_at", "revision", "paused"})
    inserts: str = "inside"
    unique: bool = True
    redispatches: bool = True
    catch_up: str = "all"


@dataclass(frozen=True)
class Model:
    """What is searched. until: when time ends. wishes: how many edits. faults: how many deaths."""

    until: int = 6
    wishes: int = 1
    faults: int = 1
    rules: Rules = Rules()


class Broken(Exception):
    """A property does not hold."""


@cache
def planned(step: int, next_at: int, now: int, catch_up: str) -> tuple[tuple[int, ...], int]:
    """core.timing.plan, in seconds."""
    rule = Every(seconds=step).rule(ANCHOR)
    made = plan(rule, at(next_at), at(now), catch_up=catch_up)
    assert made.next_at is not None
    return tuple(map(seconds, made.ticks)), seconds(made.next_at)


@cache
def next_after(step: int, now: int) -> int:
    tick = Every(seconds=step).rule(ANCHOR).next_after(at(now))
    assert tick is not None
    return seconds(tick)


def at(second: int) -> datetime:
    return ANCHOR + timedelta(seconds=second)


def seconds(moment: datetime) -> int:
    return int((moment - ANCHOR).total_seconds())


def steps(model: Model, world: World) -> Iterator[Step]:
    """All that can happen next."""
    if world.now < model.until:
        yield Step(True, f"it is {world.now + 1} s", _later(world))
    for index in range(2):
        yield from _turn(model, world, index)
    if model.rules.redispatches:
        for tick in sorted(world.jobs - world.sent):
            sent = world._replace(sent=world.sent | {tick})
            yield Step(True, f"redispatch sends {tick}", sent)
    if world.wishes and not _is_locked(world):
        for what, after in _wishes(world):
            yield Step(False, what, after._replace(wishes=world.wishes - 1))


def _later(world: World) -> World:
    row, now = world.row, world.now + 1
    is_tick = not row.paused and now % row.step == 0 and now >= row.next_at
    due = world.due | {(row.id, now)} if is_tick else world.due
    return world._replace(now=now, due=due)


def _is_locked(world: World) -> bool:
    return any(process.at in (LOCKED, MOVED, INSERTED) for process in world.processes)


def _turn(model: Model, world: World, index: int) -> Iterator[Step]:
    """What a maintenance process does next: schedules.fire, statement by statement."""
    process, rules, row = world.processes[index], model.rules, world.row
    who = f"process {index}"

    def becomes(process: Process, world: World = world) -> World:
        both = (process, world.processes[1]) if index == 0 else (world.processes[0], process)
        return world._replace(processes=both)

    if process.at == IDLE:
        if row.next_at <= world.now and not row.paused:
            ticks, next_at = planned(row.step, row.next_at, world.now, rules.catch_up)
            yield Step(True, f"{who} reads", becomes(Process(READ, row, ticks, next_at)))
            if not _is_locked(world):
                locked = Process(LOCKED, row, ticks, next_at)
                yield Step(True, f"{who} reads and locks", becomes(locked))
    elif process.at in (READ, LOCKED):
        if process.at == LOCKED or not _is_locked(world):
            moves = _matches(rules, row, process.row)
            after = becomes(process._replace(at=MOVED) if moves else Process())
            yield Step(True, f"{who} moves next_at: {'one row' if moves else 'none'}", after)
    elif process.at == MOVED:
        if rules.inserts == "inside":
            yield Step(True, f"{who} inserts", becomes(process._replace(at=INSERTED)))
        else:
            moved = world._replace(row=row._replace(next_at=process.next_at))
            yield Step(
                True, f"{who} commits the move", becomes(process._replace(at="apart"), moved)
            )
    elif process.at in (INSERTED, "apart"):
        committed = becomes(process._replace(at=COMMITTED), _committed(rules, world, process))
        yield Step(True, f"{who} commits", committed)
    else:
        pushed = {(process.row.id, tick) for tick in process.ticks} & world.jobs
        after = becomes(Process(), world._replace(sent=world.sent | pushed))
        yield Step(True, f"{who} pushes", after)
    if process.at in (LOCKED, MOVED, INSERTED):
        undone = becomes(process._replace(at=READ))
        yield Step(False, f"{who} is undone by another row of its page", undone)
    if world.faults and process.at != IDLE:
        dead = becomes(Process(), world._replace(faults=world.faults - 1))
        yield Step(False, f"{who} dies", dead)


def _matches(rules: Rules, row: Row, read: Row) -> bool:
    """The WHERE of the UPDATE."""
    if row.id != read.id:
        return False
    compared = {
        "next_at": row.next_at == read.next_at,
        "revision": row.edits == read.edits,
        "paused": not row.paused,
    }
    return all(compared[name] for name in rules.compares)


def _committed(rules: Rules, world: World, process: Process) -> World:
    row, ticks = world.row, [(process.row.id, tick) for tick in process.ticks]
    if rules.unique:
        ticks = [tick for tick in ticks if tick not in world.jobs]
    if row.id == process.row.id and ticks:
        if row.edits != process.row.edits:
            raise Broken("a job as it was before an edit that is committed")
        if row.paused:
            raise Broken("a job of a schedule that is paused")
    if rules.inserts == "inside":
        row = row._replace(next_at=process.next_at)
    made = tuple(sorted((*world.made, *ticks)))
    if len(set(made)) < len(made):
        raise Broken("two jobs of one tick")
    return world._replace(row=row, jobs=world.jobs | set(ticks), made=made)


def _wishes(world: World) -> Iterator[tuple[str, World]]:
    """What people do: each one statement, that waits for the row like any other."""
    row = world.row
    # What is due and has no job yet is not made up after that.
    dropped = world._replace(due=world.due & set(world.made))

    def edited(row: Row) -> Row:
        return row._replace(edits=row.edits + 1, next_at=next_after(row.step, world.now))

    other = STEPS[1] if row.step == STEPS[0] else STEPS[0]
    yield f"it is moved to every {other} s", dropped._replace(row=edited(row._replace(step=other)))
    yield "its arguments are edited", world._replace(row=row._replace(edits=row.edits + 1))
    if row.paused:
        resumed = edited(row._replace(paused=False))
        yield "it is resumed", dropped._replace(row=resumed)
    else:
        yield "it is paused", dropped._replace(row=row._replace(paused=True))
    again = Row(row.id + 1, row.step, next_after(row.step, world.now))
    yield "it is deleted and made again", dropped._replace(row=again)
    # Those from next_at on come by themselves, but not after a pause.
    end = world.now + 1 if row.paused else min(world.now + 1, row.next_at)
    missing = {(row.id, tick) for tick in range(row.step, end, row.step)} - set(world.made)
    if missing:
        made = tuple(sorted((*world.made, *missing)))
        yield "its missing ticks are made up", world._replace(jobs=world.jobs | missing, made=made)
    if world.jobs:
        yield "its jobs are pruned", world._replace(jobs=frozenset(), sent=frozenset())


def search(model: Model) -> int:
    """Visit every state; how many there are. Raises Counterexample at the first that is wrong."""
    start = World(wishes=model.wishes, faults=model.faults)
    seen, worlds, came_from, by = {start: 0}, [start], array("l", [0]), [""]

    def trace(index: int) -> list[str]:
        lines = []
        while index:
            lines.append(by[index])
            index = came_from[index]
        return lines[::-1]

    index = 0
    while index < len(worlds):
        world, is_calm = worlds[index], False
        try:
            for step in steps(model, world):
                is_calm |= step.calm
                if step.world not in seen:
                    seen[step.world] = len(worlds)
                    worlds.append(step.world)
                    came_from.append(index)
                    by.append(step.what)
            if not is_calm:
                _confirm_end(model, world)
        except Broken as broken:
            raise Counterexample(str(broken), trace(index)) from None
        index += 1
    return len(worlds)


def _confirm_end(model: Model, world: World) -> None:
    """Nothing more happens: each tick that was due has its job, and each job its message."""
    if world.jobs != world.sent:
        raise Broken("a job that nobody sends")
    missing = world.due - set(world.made)
    if model.rules.catch_up == "latest":
        missing &= {max(world.due, default=(0, 0))}
    if missing:
        raise Broken(f"no job for {sorted(missing)}")
    if not world.row.paused and world.row.next_at != next_after(world.row.step, world.now):
        raise Broken("it waits for what is no tick of its own")
