"""Rates as they are searched: seats, jobs that wait for them, and a clock.

Times are whole numbers from now on, so that the clock needs no end. A job that waits gets a seat
that no other row has and that is free soon; who has claimed it takes the seat, from when it is free
on, and begins then. A statement that gives seats looks (its snapshot) and writes later; a place at
a limit (of one at once) is given in one step. The timer looks whenever somebody may get a seat.
A job whose time it is begins before the clock goes on: what comes late is not searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from .explore import Broken, Step, explore

# Where a job is. It waits for its PLACE or its SEAT; ready, it has taken its seat.
NEW, PLACE, SEAT, QUEUED = "new", "waits for its place", "waits for its seat", "queued"
CLAIMED, READY, RUNNING, LOST, ENDED = "claimed", "ready", "running", "lost", "ended"


class Plan(NamedTuple):
    has_lane: bool = False
    is_pausable: bool = False
    retries: int = 0


class Job(NamedTuple):
    """A row. begins_in: of one that is ready. took: its last seat, noted for a twin."""

    state: str = NEW
    has_place: bool = False
    seat: int = 0
    retries: int = 0
    begins_in: int = 0
    took: int = 0


class Agent(NamedTuple):
    """A statement that gives seats, with its snapshot, or a zombie that is yet to take its seat."""

    kind: str = "statement"
    pairs: tuple[tuple[int, int], ...] = ()


class World(NamedTuple):
    """A state. free_in: of each seat. starts: how long ago they were, within a period."""

    jobs: tuple[Job, ...]
    free_in: tuple[int, ...]
    starts: tuple[int, ...] = ()
    agents: tuple[Agent, ...] = ()
    is_paused: bool = False
    wishes: int = 0
    faults: int = 0


@dataclass(frozen=True)
class Rules:
    """The protocol, or it without one of its rules.

    takes: "before" it begins a job takes its seat, "after" it, or it was "admitted" with it.
    early: whose seat is not free soon, for its statement had looked before another took it, "waits"
    until it is, "goes back" into the line, or "begins" after AHEAD. unique: the index. asks_claim:
    who takes a seat asks whether the job is still its own. keeps_seat: what has been taken stays so
    after a crash. place_first: the seat comes after the place. pause_takes: a pause, and each
    sweep, takes the places of jobs that have not begun; pause_takes_seats: their seats too.
    """

    takes: str = "before"
    early: str = "waits"
    unique: bool = True
    asks_claim: bool = True
    keeps_seat: bool = True
    place_first: bool = True
    pause_takes: bool = True
    pause_takes_seats: bool = True


@dataclass(frozen=True)
class Model:
    """What is searched. statements: how many of them at once. ahead: how early seats are given."""

    plans: tuple[Plan, ...]
    seats: int = 1
    period: int = 2
    ahead: int = 1
    statements: int = 2
    wants: tuple[str, ...] = ()
    wishes: int = 0
    faults: int = 0
    rules: Rules = Rules()


def search(model: Model) -> int:
    """Visit every state; how many there are. Raises Counterexample at the first that is wrong."""
    jobs = (Job(),) * len(model.plans)
    start = World(jobs, (0,) * model.seats, wishes=model.wishes, faults=model.faults)
    return explore(
        start, partial(steps, model), partial(_confirm, model), partial(_confirm_end, model)
    )


def with_job(world: World, index: int, **changes: object) -> World:
    job = world.jobs[index]._replace(**changes)  # type: ignore[arg-type]
    return world._replace(jobs=(*world.jobs[:index], job, *world.jobs[index + 1 :]))


def with_agents(world: World, *agents: Agent, without: Agent | None = None) -> World:
    rest = list(world.agents)
    if without is not None:
        rest.remove(without)
    return world._replace(agents=tuple(sorted((*rest, *agents))))


def with_seat(world: World, seat: int, free_in: int) -> World:
    before, after = world.free_in[: seat - 1], world.free_in[seat:]
    return world._replace(free_in=(*before, free_in, *after))


def taken(model: Model, world: World, seat: int) -> World:
    """For a whole period, from when it is free on."""
    return with_seat(world, seat, world.free_in[seat - 1] + model.period)


def is_stopped(model: Model, world: World, index: int) -> bool:
    return world.is_paused and model.plans[index].is_pausable


def lined_up(model: Model, world: World, index: int) -> World:
    """It waits for what it needs next; without that it is queued."""
    job, needs_place = world.jobs[index], model.plans[index].has_lane
    needs = [(PLACE, needs_place and not job.has_place), (SEAT, not job.seat)]
    if not model.rules.place_first:
        needs.reverse()
    state = next((state for state, is_so in needs if is_so), QUEUED)
    return with_job(world, index, state=state, begins_in=0)


def steps(model: Model, world: World) -> Iterator[Step]:
    """All that can happen next."""
    for index in range(len(world.jobs)):
        yield from job_steps(model, world, index)
    yield from seat_steps(model, world)
    for agent in dict.fromkeys(world.agents):
        what, after = written(model, world, agent)
        yield Step(True, what, after)
    if (after := numbers_taken(model, world)) != world:
        yield Step(True, "a sweep takes the numbers of the paused queue", after)
    after = ticked(model, world)
    if after != world and not any(j.state == READY and not j.begins_in for j in world.jobs):
        yield Step(True, "the clock goes on", after)
    if world.faults:
        yield from deaths(model, world._replace(faults=world.faults - 1))
    if world.wishes:
        yield from wishes(model, world._replace(wishes=world.wishes - 1))


def ticked(model: Model, world: World) -> World:
    for index, job in enumerate(world.jobs):
        if job.state == READY:
            world = with_job(world, index, begins_in=job.begins_in - 1)
    free_in = tuple(max(0, time - 1) for time in world.free_in)
    starts = tuple(ago + 1 for ago in world.starts if ago + 1 < model.period)
    return world._replace(free_in=free_in, starts=starts)


def job_steps(model: Model, world: World, index: int) -> Iterator[Step]:
    job, plan, who = world.jobs[index], model.plans[index], f"job {index}"
    if job.state == NEW:
        yield Step(True, f"{who} is enqueued", lined_up(model, world, index))
    elif job.state == PLACE and not is_stopped(model, world, index):
        holders = [other for other in world.jobs if other.has_place]
        if not holders and first_of(model, world, PLACE) == index:
            after = lined_up(model, with_job(world, index, has_place=True), index)
            yield Step(True, f"{who} gets its place", after)
    elif job.state == QUEUED and not is_stopped(model, world, index):
        yield Step(True, f"{who} is claimed", with_job(world, index, state=CLAIMED))
    elif job.state == CLAIMED:
        yield from start_steps(model, world, index)
    elif job.state == READY and not job.begins_in:
        yield Step(True, f"{who} begins", begun(world, index))
    elif job.state == LOST:
        yield Step(True, f"{who} is rescued", rescued(model, world, index))
    elif job.state == RUNNING and not (job.seat and model.rules.takes == "after"):
        ended = with_job(world, index, state=ENDED, has_place=False, took=0)
        yield Step(True, f"{who} succeeds", ended)
        if job.retries < plan.retries:
            again = with_job(world, index, retries=job.retries + 1, took=0)
            yield Step(True, f"{who} is retried", lined_up(model, again, index))
    elif job.state == RUNNING:
        after = with_job(taken(model, world, job.seat), index, seat=0)
        yield Step(True, f"{who} takes its seat", after)


def first_of(model: Model, world: World, state: str) -> int:
    found = (i for i, job in enumerate(world.jobs) if job.state == state)
    return next((index for index in found if not is_stopped(model, world, index)), -1)


def start_steps(model: Model, world: World, index: int) -> Iterator[Step]:
    """From the claim to the start."""
    job, rules = world.jobs[index], model.rules
    wait = world.free_in[job.seat - 1]
    if rules.early == "goes back" and wait > model.ahead:
        after = lined_up(model, with_job(world, index, seat=0), index)
        yield Step(True, f"job {index} goes back", after)
    elif rules.takes == "before":
        begins_in = min(wait, model.ahead) if rules.early == "begins" else wait
        took = 0 if rules.keeps_seat else job.seat
        after = taken(model, world, job.seat)
        after = with_job(after, index, state=READY, seat=0, begins_in=begins_in, took=took)
        yield Step(True, f"job {index} takes seat {job.seat}", after)
    elif rules.takes == "admitted":
        yield Step(True, f"job {index} begins", begun(with_job(world, index, seat=0), index))
    elif not wait:
        yield Step(True, f"job {index} begins", begun(world, index))


def begun(world: World, index: int) -> World:
    return with_job(world, index, state=RUNNING)._replace(starts=tuple(sorted((0, *world.starts))))


def rescued(model: Model, world: World, index: int) -> World:
    job = world.jobs[index]
    if job.took and not model.rules.keeps_seat:
        world = with_seat(world, job.took, 0)
    return lined_up(model, with_job(world, index, seat=0, took=0), index)


def seat_steps(model: Model, world: World) -> Iterator[Step]:
    """The timer looks: the first that wait, and the seats that are free soon."""
    rows = [
        index
        for index, job in enumerate(world.jobs)
        if job.state == SEAT and not is_stopped(model, world, index)
    ]
    seats = [
        seat
        for seat, free_in in enumerate(world.free_in, 1)
        if free_in <= model.ahead and all(job.seat != seat for job in world.jobs)
    ]
    pairs = tuple(zip(rows, seats, strict=False))
    if pairs and sum(agent.kind == "statement" for agent in world.agents) < model.statements:
        yield Step(True, f"a statement sees {pairs}", with_agents(world, Agent(pairs=pairs)))


def written(model: Model, world: World, agent: Agent) -> tuple[str, World]:
    """A statement locks the rows of its snapshot that wait, and gives them its seats."""
    after, given = with_agents(world, without=agent), []
    if agent.kind == "zombie":
        return taken_late(model, after, *agent.pairs[0])
    rows = [row for row, _ in agent.pairs if world.jobs[row].state == SEAT]
    for row, (_, seat) in zip(rows, agent.pairs, strict=False):
        if any(job.seat == seat for job in after.jobs):
            if model.rules.unique:
                return f"the statement is refused seat {seat}", with_agents(world, without=agent)
            raise Broken(f"two jobs have seat {seat}")
        if model.rules.takes == "admitted":
            after = taken(model, after, seat)
        after = lined_up(model, with_job(after, row, seat=seat), row)
        given.append((row, seat))
    return f"the statement gives {given}", after


def taken_late(model: Model, world: World, row: int, seat: int) -> tuple[str, World]:
    if model.rules.asks_claim:
        return f"the zombie of job {row} has lost its claim", world
    return f"the zombie of job {row} takes seat {seat}", with_job(
        taken(model, world, seat), row, seat=0
    )


def deaths(model: Model, world: World) -> Iterator[Step]:
    """Processes die, or are taken for dead. What they had not committed is undone."""
    for index, job in enumerate(world.jobs):
        if job.state in (CLAIMED, READY, RUNNING):
            lost = with_job(world, index, state=LOST)
            yield Step(False, f"the holder of job {index} dies while it is {job.state}", lost)
        if job.state == CLAIMED:
            zombie = Agent("zombie", ((index, job.seat),))
            taken_away = with_agents(rescued(model, world, index), zombie)
            yield Step(False, f"job {index} is rescued from one that lives", taken_away)
    for agent in dict.fromkeys(world.agents):
        yield Step(False, f"a {agent.kind} dies", with_agents(world, without=agent))


def wishes(model: Model, world: World) -> Iterator[Step]:
    for index, job in enumerate(world.jobs):
        if "cancel" in model.wants and job.state in (PLACE, SEAT, QUEUED):
            ended = with_job(world, index, state=ENDED, seat=0, has_place=False)
            yield Step(False, f"job {index} is cancelled", ended)
    if "pause" in model.wants and not world.is_paused:
        paused = numbers_taken(model, world._replace(is_paused=True))
        yield Step(False, "the queue is paused", paused)
    if "pause" in model.wants and world.is_paused:
        yield Step(False, "the queue is resumed", world._replace(is_paused=False))


def stopped_holders(model: Model, world: World) -> list[int]:
    return [
        index
        for index, job in enumerate(world.jobs)
        if is_stopped(model, world, index)
        and (job.state == QUEUED or (job.state == SEAT and job.has_place))
    ]


def numbers_taken(model: Model, world: World) -> World:
    """The jobs of a paused queue that have not begun give up what they have."""
    for index in stopped_holders(model, world) if model.rules.pause_takes else ():
        seat = 0 if model.rules.pause_takes_seats else world.jobs[index].seat
        world = lined_up(model, with_job(world, index, has_place=False, seat=seat), index)
    return world


def _confirm(model: Model, world: World) -> None:
    if len(world.starts) > model.seats:
        raise Broken(f"{len(world.starts)} starts within a period")
    for index, job in enumerate(world.jobs):
        if job.state in (QUEUED, CLAIMED) and not job.seat:
            raise Broken(f"job {index} goes on without a seat")


def _confirm_end(model: Model, world: World) -> None:
    """Nothing more happens: all has run, but for what is paused and has not begun."""
    for index, job in enumerate(world.jobs):
        if job.state != ENDED and not is_stopped(model, world, index):
            raise Broken(f"job {index} never runs: it {job.state}")
