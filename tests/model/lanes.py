"""All that happens to limits and sequences, and an exhaustive search of it.

Workers are as many as there are jobs: one with its message may begin at any time. A sweep comes
after a crash or a rollback only, for one that was not to wait, and for one that stood behind one
with a smaller N, so that whatever else needs it is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .explore import Broken, Step, explore
from .lane_agents import (
    agent_steps,
    committed,
    deadlocks,
    describe,
    handed_on,
    is_last,
    look_inside,
    settler,
)
from .lane_state import (
    BLOCKED,
    CANCELLED,
    FAILED,
    LOST,
    NEW,
    NOT_SET,
    QUEUED,
    RUNNING,
    SCHEDULED,
    SENT,
    SUCCEEDED,
    Agent,
    Model,
    World,
    first,
    freed,
    is_full,
    is_sequence,
    is_stopped,
    lined_up,
    most,
    waiting,
    with_agents,
    with_job,
)


def job_steps(model: Model, world: World, index: int) -> Iterator[Step]:
    """What may happen to a job next."""
    job, who = world.jobs[index], f"job {index}"
    if job.state == NEW:
        yield Step(True, f"{who} is enqueued", lined_up_and_look(model, world, index))
    elif job.state == SENT and not is_stopped(model, world, index):
        if not is_locked(world, index):
            yield Step(True, f"{who} begins", begun(model, world, index))
    elif job.state == SCHEDULED:
        if job.place:
            yield Step(True, f"{who} is due", with_job(world, index, state=SENT))
        else:
            yield Step(True, f"{who} is due and lines up", lined_up_and_look(model, world, index))
    elif job.state == RUNNING and settler(world, index) is None:
        for what, after in settlements(model, world, index):
            yield Step(True, f"{who} {what}", after)
    elif job.state == LOST:
        yield Step(True, f"{who} is rescued", with_job(world, index, state=SENT))
        yield Step(True, f"{who} is failed by its rescue", failed(model, world, index))


def lined_up_and_look(model: Model, world: World, index: int) -> World:
    plan = model.plans[index]
    mine = Agent(lanes=(plan.lane,))
    if plan.mode == "skip":
        mine = mine._replace(job=index)
    return with_agents(lined_up(model, world, index), mine)


def begun(model: Model, world: World, index: int) -> World:
    return with_job(world, index, state=RUNNING, has_begun=model.plans[index].mode == "skip")


def is_locked(world: World, index: int) -> bool:
    return any((one.at, one.job) == ("locked", index) for one in world.agents)


def failed(model: Model, world: World, index: int) -> World:
    if model.plans[index].mode == "hold" and world.jobs[index].place:
        return with_job(world, index, state=FAILED)
    return freed(model, world, index, FAILED)


def settlements(model: Model, world: World, index: int) -> Iterator[tuple[str, World]]:
    """How an attempt ends, in one UPDATE."""
    job, rules = world.jobs[index], model.rules
    if "succeeds" in model.outcomes:
        if rules.looks == "before":
            yield "succeeds, not committed", look_inside(model, world, index)
        elif rules.hands_on and job.place:
            yield "succeeds", hands_on(model, world, (index,))
        else:
            yield "succeeds", freed(model, world, index, SUCCEEDED)
    if "fails" in model.outcomes:
        yield "fails", failed(model, world, index)
    if "is cancelled" in model.outcomes:
        yield "is cancelled", freed(model, world, index, CANCELLED)
    if job.retries < model.retries:
        again = with_job(world, index, retries=job.retries + 1)
        if "retries" in model.outcomes:
            yield "is retried at once", with_job(again, index, state=SENT)
        if "retries later" in model.outcomes:
            if is_sequence(model, index) and rules.keeps:
                yield "is retried later", with_job(again, index, state=SCHEDULED)
            else:
                yield "is retried later", freed(model, again, index, SCHEDULED)


def hands_on(model: Model, world: World, settled: tuple[int, ...]) -> World:
    """A statement begins that settles these, and hands their numbers on."""
    lanes = tuple(sorted(model.plans[index].lane for index in settled))
    return with_agents(world, Agent("settle", lanes=lanes, settles=settled))


def group_steps(model: Model, world: World) -> Iterator[Step]:
    """One transaction settles several jobs, and one statement admits for all their lanes."""
    runs = [index for index in model.group if world.jobs[index].state == RUNNING]
    if model.group and len(runs) == len(model.group) and not any(settler(world, i) for i in runs):
        places = sorted({world.jobs[index].place for index in model.group})
        numbers = tuple(places) if model.has_choice else ()
        if model.rules.hands_on and len({model.plans[index].lane for index in runs}) == len(runs):
            yield Step(True, "the group succeeds", hands_on(model, world, model.group))
            return
        for index in model.group:
            world = with_job(world, index, state=SUCCEEDED, place=0)
        lanes = tuple(sorted({model.plans[index].lane for index in model.group}))
        yield Step(
            True, "the group succeeds", with_agents(world, Agent(lanes=lanes, freed=numbers))
        )


def wishes(model: Model, world: World) -> Iterator[tuple[str, World]]:
    """What people do, and a sweep that nobody needs."""
    everyone = Agent(lanes=tuple(range(model.lanes)))
    for number in model.overrides:
        if number != world.overrides[0]:
            after = world._replace(overrides=(number, *world.overrides[1:]))
            looks = [Agent()] * model.rules.raise_looks
            yield f"N is set to {number}", with_agents(after, *looks)
    if "pause" in model.wants:
        yield from pauses(model, world)
    if "sweep" in model.wants:
        yield "a sweep begins", with_agents(world, everyone._replace(kind="sweep"))
    for index, job in enumerate(world.jobs):
        lanes, who = (model.plans[index].lane,), f"job {index}"
        reader = Agent("", "read", lanes, (job.place,) * bool(job.place), index)
        if "cancel" in model.wants and job.state in (BLOCKED, QUEUED, SENT):
            yield f"{who} is to be cancelled", with_agents(world, reader._replace(kind="cancel"))
        if "retry" in model.wants and job.state == FAILED:
            yield f"{who} is to be retried", with_agents(world, reader._replace(kind="retry"))
        if "release" in model.wants and job.state == FAILED and job.place:
            yield f"{who} lets go of its sequence", freed(model, world, index, FAILED)
        if "anyway" in model.wants and job.state == BLOCKED:
            anyway = reader._replace(kind="anyway")
            yield f"{who} is to be run anyway", with_agents(world, anyway)


def pauses(model: Model, world: World) -> Iterator[tuple[str, World]]:
    everyone = Agent(lanes=tuple(range(model.lanes)))
    if not world.is_paused:
        after = world._replace(is_paused=True)
        if model.rules.takes != "never":
            after = places_taken(model, after)
        yield "the queue is paused", with_agents(after, everyone)
    elif model.rules.resumes == "after":
        yield "the queue is resumed", with_agents(world._replace(is_paused=False), everyone)
    else:
        waits = [index for index, job in enumerate(world.jobs) if job.state == BLOCKED]
        lanes = tuple(sorted({model.plans[index].lane for index in waits}))
        yield "the queue is being resumed", with_agents(world, Agent("resume", "read", lanes))


def places_taken(model: Model, world: World) -> World:
    """The limited jobs of a paused queue that have not begun wait in their lanes again."""
    for index in stopped_holders(model, world):
        world = with_job(world, index, state=BLOCKED, place=0, late=False)
    return world


def stopped_holders(model: Model, world: World) -> list[int]:
    return [
        index
        for index, job in enumerate(world.jobs)
        if job.state in (QUEUED, SENT)
        and job.place
        and is_stopped(model, world, index)
        and not is_sequence(model, index)
    ]


def steps(model: Model, world: World) -> Iterator[Step]:
    """All that can happen next."""
    for index in range(len(world.jobs)):
        yield from job_steps(model, world, index)
    yield from group_steps(model, world)
    for agent in dict.fromkeys(world.agents):
        for what, after in agent_steps(model, world, agent):
            yield Step(True, f"{describe(agent)} {what}", after)
    for what, after in deadlocks(model, world):
        yield Step(True, what, after)
    yield from maintenance(model, world)
    if world.faults:
        yield from deaths(model, world._replace(faults=world.faults - 1))
    if world.wishes:
        for what, after in wishes(model, world._replace(wishes=world.wishes - 1)):
            yield Step(False, what, after)


def maintenance(model: Model, world: World) -> Iterator[Step]:
    sweep = Agent("sweep", lanes=tuple(range(model.lanes)))
    is_calm = not world.agents
    is_due = world.is_dirty or (is_calm and (impatient(model, world) or delayed(model, world)))
    if is_due and model.rules.sweeps:
        after = with_agents(world._replace(is_dirty=False), sweep)
        for index, job in enumerate(world.jobs):
            if job.state == QUEUED:
                after = with_job(after, index, state=SENT)
        yield Step(True, "a sweep sends what is queued, and begins", after)
    if model.rules.takes == "always" and stopped_holders(model, world):
        after = with_agents(places_taken(model, world), sweep)
        yield Step(True, "a sweep takes the places of the paused queue, and begins", after)


def impatient(model: Model, world: World) -> list[int]:
    """Who waits and was not to."""
    return [
        row
        for lane in range(model.lanes)
        for row in waiting(model, world, lane)
        if model.plans[row].mode == "skip" and not world.jobs[row].has_begun
    ]


def delayed(model: Model, world: World) -> list[int]:
    """Who could begin, but waits for a sweep."""
    lanes = [waiting(model, world, lane) for lane in range(model.lanes)]
    firsts = [rows[0] for rows in lanes if rows]
    return [row for row in firsts if has_mixed_n(model, row) and not is_full(model, world, row)]


def has_mixed_n(model: Model, row: int) -> bool:
    """In the last look it may have stood behind one with a smaller N."""
    lane, unset = model.plans[row].lane, (NOT_SET,) * model.lanes
    rows = [index for index, plan in enumerate(model.plans) if plan.lane == lane]
    return len({most(model, unset, index) for index in rows}) > 1


def deaths(model: Model, world: World) -> Iterator[Step]:
    """A process dies; a transaction that it had open is rolled back."""
    for index, job in enumerate(world.jobs):
        settles = settler(world, index)
        if job.state == RUNNING and (settles is None or settles.at != "write"):
            lost = with_agents(with_job(world, index, state=LOST), without=settles)
            yield Step(False, f"the holder of job {index} dies", lost)
            zombie = Agent("zombie", "late", (model.plans[index].lane,), job=index)
            taken = with_agents(with_job(world, index, state=SENT), zombie, without=settles)
            yield Step(False, f"job {index} is rescued from one that lives", taken)
    dirty = world._replace(is_dirty=True)
    for agent in dict.fromkeys(world.agents):
        yield Step(False, f"{describe(agent)} dies", with_agents(dirty, without=agent))
        if is_last(model, world, agent):
            ends = handed_on if agent.settles else committed
            dead = ends(model, dirty, agent, LOST if agent.settles else QUEUED)
            yield Step(False, f"{describe(agent)} commits and dies", dead)


def search(model: Model) -> int:
    """Visit every state; how many there are. Raises Counterexample at the first that is wrong."""

    def next_steps(world: World) -> Iterator[Step]:
        for step in steps(model, world):
            yield step._replace(world=noted(model, step.world))

    return explore(first(model), next_steps, partial(_confirm, model), partial(_confirm_end, model))


def noted(model: Model, world: World) -> World:
    """Who has a message begins at once, but where that makes a difference."""
    begins = not {"cancel", "pause"} & set(model.wants)
    for index, job in enumerate(world.jobs):
        if begins and job.state == SENT:
            world = begun(model, world, index)
        skips = model.plans[index].mode == "skip" and job.state == BLOCKED and not job.was_busy
        if skips and is_full(model, world, index):
            world = with_job(world, index, was_busy=True)
    return world


def _confirm(model: Model, world: World) -> None:
    """Nobody goes on without a place. When all are at rest, none is free that one waits for."""
    for index, job in enumerate(world.jobs):
        if job.state in (QUEUED, SENT, RUNNING, LOST) and not job.place and not job.is_forced:
            raise Broken(f"job {index} goes on without a place")
    at_rest = not world.agents and not world.is_dirty
    for lane in range(model.lanes) if at_rest else ():
        rows = waiting(model, world, lane)
        comes = model.rules.sweeps and rows and has_mixed_n(model, rows[0])
        if rows and not comes and not is_full(model, world, rows[0]):
            raise Broken(f"job {rows[0]} is stuck: it waits while a place is free")


def _confirm_end(model: Model, world: World) -> None:
    """Nothing more happens: all is over, or waits for a person."""
    for index, job in enumerate(world.jobs):
        is_lost = job.state in (SCHEDULED, QUEUED, RUNNING, LOST)
        if is_lost or (job.state == SENT and not is_stopped(model, world, index)):
            raise Broken(f"job {index} is lost while it is {job.state}")
    if world.agents:
        raise Broken(f"a process waits for ever: {describe(world.agents[0])}")
    if world.is_dirty and model.rules.sweeps:
        raise Broken("no sweep came")
    _confirm(model, world._replace(is_dirty=False))
    for index in (*impatient(model, world), *delayed(model, world)):
        raise Broken(f"job {index} was not to wait")
    if stopped_holders(model, world):
        raise Broken("a paused queue holds a place")
