"""Processes that execute the statements of workflows, with the locks of READ COMMITTED.

A statement takes its snapshot, then locks what it found in there, one row after the other, waits
where another transaction has a row, and writes. What it has written is seen at its COMMIT. A COMMIT
is one step with the statement before it, unless the model says that these are apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from .batch_state import (
    ADDED,
    ADDS,
    DEAD,
    FIRST_JOB,
    QUEUED,
    RUNNING,
    Agent,
    Model,
    View,
    World,
    with_agents,
    with_rows,
    with_run,
)
from .batch_statements import COMMIT, LEAVE, SHARED, STATEMENTS, Effect
from .explore import Broken


def describe(agent: Agent) -> str:
    return f"{agent.kind} {agent.key}"


def agent_steps(model: Model, world: World, agent: Agent) -> Iterator[tuple[str, World]]:
    """What a process does next: one step, or none while it waits for a row."""
    statement = agent.todo[0]
    if statement == COMMIT:
        yield "commits", committed(model, world, agent)
        return
    if statement == LEAVE:
        yield "leaves what is locked", with_agents(world._replace(is_dirty=True), without=agent)
        return
    view = View(model, world, agent)
    find, write = STATEMENTS[statement[0]]
    found, what = agent.found, "executes " + ", ".join(map(str, statement))
    if not agent.has_looked:
        found = find(view, *statement[1:])
        if model.apart and found:
            after = agent._replace(has_looked=True, found=found)
            yield f"{what}: looks", with_agents(world, after, without=agent)
            return
    if does_not_wait(model, statement[0]):
        found = tuple(key for key in found if not is_locked(world, key))
    mode = "share" if statement[0] in SHARED else "update"
    locks, is_waiting = locked(world, agent, found, mode)
    if is_waiting:
        if locks != agent.locks or not agent.has_looked:
            after = agent._replace(has_looked=True, found=found, locks=locks)
            yield f"{what}: waits", with_agents(world, after, without=agent)
        return
    effect = write(view, found, *statement[1:])
    yield what, executed(model, world, agent._replace(locks=locks), effect, agent)


def does_not_wait(model: Model, name: str) -> bool:
    """It goes without the rows that are locked."""
    rules = model.rules
    if name == "cancel":
        return rules.skips_locked
    return name == "share gate" and rules.locks_gate == "at once"


def locked(
    world: World, agent: Agent, found: tuple[int, ...], mode: str
) -> tuple[tuple[tuple[int, str], ...], bool]:
    """The locks after this, and whether it has to wait for one that it does not get."""
    locks = dict(agent.locks)
    for key in found:
        modes = [one for other in world.agents if other is not agent for one in held(other, key)]
        if any("update" in (one, mode) for one in modes):
            return tuple(sorted(locks.items())), True
        if locks.get(key) != "update":
            locks[key] = mode
    return tuple(sorted(locks.items())), False


def held(agent: Agent, key: int) -> list[str]:
    return [mode for row, mode in agent.locks if row == key]


def is_locked(world: World, key: int) -> bool:
    return any(held(agent, key) for agent in world.agents)


def executed(model: Model, world: World, agent: Agent, effect: Effect, before: Agent) -> World:
    if effect.is_undone:
        return left(with_agents(world, without=before), agent)
    todo = (*effect.then, *agent.todo[1:], *effect.after)
    changes = tuple(sorted({**dict(agent.changes), **effect.changes}.items()))
    after = agent._replace(todo=todo, changes=changes, has_looked=False, found=())
    world = with_agents(world, after, without=before)
    if not todo or (todo[0] == COMMIT and not model.apart):
        return committed(model, world, after)
    return world


def committed(model: Model, world: World, agent: Agent) -> World:
    world = with_agents(world, without=agent)
    if agent.changes and agent.kind in ("add", "zombie add") and not has_claim(world, agent):
        raise Broken(f"job {agent.key} adds though it has lost its claim")
    world = with_rows(world, agent.changes)
    if agent.kind == "rescue" and View(model, world).job(agent.key).state == QUEUED:
        world = with_run(world, agent.key, "")
    if not agent.todo[1:]:
        return left(world, agent)
    return with_agents(world, agent._replace(todo=agent.todo[1:], changes=(), locks=()))


def has_claim(world: World, agent: Agent) -> bool:
    """It is the attempt that its job still runs in."""
    job = world.jobs[agent.key - FIRST_JOB]
    return job.state == RUNNING and job.claims == agent.claim


def is_process_of_job(world: World, agent: Agent) -> bool:
    return agent.kind in ("settle", "add", "rescue") and has_claim(world, agent)


def left(world: World, agent: Agent) -> World:
    """A process has done all of it, or has nothing more to do."""
    is_adding = agent.kind == "add" and world.runs[agent.key - FIRST_JOB] == ADDS
    if is_adding and is_process_of_job(world, agent):
        return with_run(world, agent.key, ADDED)
    return world


def killed(world: World, agent: Agent) -> World:
    """A process dies: what it has not committed is undone, what it was yet to do is lost."""
    after = with_agents(world, without=agent)._replace(is_dirty=True)
    return with_run(after, agent.key, DEAD) if is_process_of_job(world, agent) else after
