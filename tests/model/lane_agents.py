"""Processes between two steps: a statement that admits, a cancel, a person's retry, a zombie.

READ COMMITTED. A statement that admits looks (its snapshot), locks rows one after the other, each
as it is by then, and writes them one after the other. What it has written is seen at its COMMIT,
but the unique index (lane, place) sees it at once: who writes the same number waits for that COMMIT
and is refused. It does not matter whether one statement does all this or several of a transaction.
Other statements are one step; a cancel locks first. Who dies has written nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from .lane_state import (
    BLOCKED,
    CANCELLED,
    FAILED,
    QUEUED,
    SENT,
    SUCCEEDED,
    Agent,
    Broken,
    Line,
    Model,
    World,
    freed,
    holders,
    is_ahead,
    is_full,
    lined_up,
    most,
    waiting,
    with_agents,
    with_job,
)


def look(model: Model, world: World, agent: Agent) -> Agent:
    """The snapshot of a statement that admits: hoped for is what fits, of those that wait."""
    lines, hoped = [], 0
    for lane in agent.lanes:
        places = [world.jobs[index].place for index in holders(model, world, lane)]
        rows = tuple(waiting(model, world, lane))
        end = max((most(model, world.overrides, row) for row in rows), default=0)
        if not model.rules.within_n:
            end = max(end, *agent.freed, 0)
        numbers = [number for number in range(1, end + 1) if number not in places]
        if model.rules.prefers:
            numbers.sort(key=lambda number: (number not in agent.freed, number))
        line = Line(rows[0] if rows else -1, rows, tuple(numbers), len(places))
        lines.append(line)
        for row in rows:
            number = fitting(model, world.overrides, line, row)
            if not number:
                break
            line, hoped = taken(line, number), hoped + 1
    return agent._replace(
        at="lock", lines=tuple(lines), hoped=hoped, pairs=(), overrides=world.overrides
    )


def fitting(model: Model, overrides: tuple[int, ...], line: Line, row: int) -> int:
    """The number that the next row of a line gets, or 0."""
    rules = model.rules
    n = most(model, overrides, row if rules.own_n else line.first)
    held = line.held if rules.counts_all else 0
    if held >= n:
        return 0
    allowed = (number for number in line.numbers if number <= n or not rules.within_n)
    return next(allowed, 0)


def taken(line: Line, number: int) -> Line:
    rest = tuple(other for other in line.numbers if other != number)
    return line._replace(numbers=rest, held=line.held + 1)


def lock_owner(world: World, row: int, but: Agent) -> Agent | None:
    """Who else has locked a row."""
    rest = list(world.agents)
    rest.remove(but)
    for agent in rest:
        if agent.at in ("lock", "write", "inside") and any(row == mine for mine, _ in agent.pairs):
            return agent
        if agent.at == "locked" and agent.job == row:
            return agent
    return None


def lock(model: Model, world: World, me: Agent, agent: Agent) -> Agent:
    """Lock the rows one after the other, as far as it goes; at "write" when it has them all."""
    lines = agent.lines
    while lines:
        line, *rest = lines
        row = line.rows[0] if line.rows else -1
        number = fitting(model, agent.overrides, line, row) if line.rows else 0
        if not number:
            lines = tuple(rest)
            continue
        if lock_owner(world, row, me) is not None:
            if not agent.skips or model.plans[row].mode in model.rules.waits_for:
                return agent._replace(lines=lines)
        elif world.jobs[row].state == BLOCKED or not model.rules.asks_state:
            line = taken(line, number)
            agent = agent._replace(pairs=(*agent.pairs, (row, number)))
        lines = (line._replace(rows=line.rows[1:]), *rest)
    return agent._replace(at="write", lines=(), written=0)


def writer(model: Model, world: World, me: Agent) -> Agent | None:
    """Who has written the number that this one is to write, and has not committed yet."""
    row, number = me.pairs[me.written]
    rest = list(world.agents)
    rest.remove(me)
    for agent in rest:
        for other, written in agent.pairs[: agent.written]:
            same_lane = model.plans[other].lane == model.plans[row].lane
            if agent.at == "write" and written == number and same_lane:
                return agent
    return None


def again_or_end(model: Model, agent: Agent, got: int, *, refused: bool = False) -> list[Agent]:
    """After a statement: what there is to do next."""
    rules, blank = (
        model.rules,
        Agent(agent.kind, "look", agent.lanes, agent.freed, agent.job, agent.attempt),
    )
    if rules.tries_again if refused else got < agent.hoped and rules.looks_again:
        return [blank._replace(skips=not rules.looks_again)]
    if agent.kind == "sweep" or (agent.job >= 0 and model.plans[agent.job].mode == "skip"):
        return [blank._replace(at="busy")]
    return []


def agent_steps(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    """What an agent does next, if it waits for nobody."""

    def becomes(*agents: Agent, world: World = world) -> World:
        return with_agents(world, *agents, without=me)

    if me.at == "look" and model.apart:
        yield "looks", becomes(look(model, world, me))
    elif me.at in ("look", "lock"):
        seen = look(model, world, me) if me.at == "look" else me
        after = lock(model, world, me, seen)
        if after.at == "write" and not after.pairs:
            yield "finds no row", becomes(*again_or_end(model, after, 0))
        elif after != me:
            yield f"locks {after.pairs}", becomes(after)
            if model.any_order and after.at == "write" and len(after.pairs) > 1:
                yield f"locks {after.pairs}", becomes(after._replace(pairs=after.pairs[::-1]))
    elif me.at == "write":
        yield from _write(model, world, me)
    elif me.at == "busy":
        yield from _cancel_busy(model, world, me)
    elif me.at == "inside":
        yield "commits", _commit_inside(model, world, me)
    elif me.kind == "retry":
        yield _retry(model, world, me)
    elif me.kind == "cancel":
        yield from _cancel(model, world, me)
    elif me.kind == "zombie":
        yield from _settle_late(model, world, me)


def _write(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    if model.rules.unique and writer(model, world, me) is not None:
        return
    row, number = me.pairs[me.written]
    if is_refused(model, world, me):
        again = again_or_end(model, me, 0, refused=True)
        yield f"is refused number {number}", with_agents(world, *again, without=me)
    elif me.written + 1 < len(me.pairs):
        after = me._replace(written=me.written + 1)
        yield f"writes {row, number}", with_agents(world, after, without=me)
    else:
        next_ = again_or_end(model, me, len(me.pairs))
        after_commit = with_agents(committed(model, world, me, SENT), *next_)
        yield f"commits {me.pairs} and sends", after_commit


def is_refused(model: Model, world: World, me: Agent) -> bool:
    """The unique index knows the number already."""
    row, number = me.pairs[me.written]
    held = holders(model, world, model.plans[row].lane)
    return model.rules.unique and any(world.jobs[index].place == number for index in held)


def committed(model: Model, world: World, me: Agent, state: str) -> World:
    """All its pairs are there at once, SENT or, if it dies then, QUEUED."""
    world = with_agents(world, without=me)
    for row, number in me.pairs:
        world = admitted(model, world, me, row, number)
        world = with_job(world, row, state=state)
    return world


def is_last(model: Model, world: World, me: Agent) -> bool:
    """It has yet to commit, and nobody is in the way."""
    is_written = me.at == "write" and me.written + 1 == len(me.pairs)
    return is_written and not writer(model, world, me) and not is_refused(model, world, me)


def admitted(model: Model, world: World, me: Agent, row: int, number: int) -> World:
    """A row has its place. Here most of the promises are kept or broken."""
    job = world.jobs[row]
    if job.state != BLOCKED:
        raise Broken(f"job {row} is admitted while it is {job.state}")
    n, lane = most(model, world.overrides, row), model.plans[row].lane
    late = most(model, me.overrides, row) > n
    world = with_job(world, row, state=QUEUED, place=number, late=late)
    held = holders(model, world, lane)
    if len({world.jobs[index].place for index in held}) < len(held):
        raise Broken(f"two holders of one place in lane {lane}")
    bound = [index for index in held if most(model, world.overrides, index) <= n]
    if len(bound) > n and not any(world.jobs[index].late for index in held):
        raise Broken(f"{len(bound)} are admitted where {n} may be")
    before = [other for other in job.earlier if is_ahead(world.jobs[other])]
    if before:
        raise Broken(f"job {row} of a sequence goes before job {before[0]}")
    return world


def _cancel_busy(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    """when_busy="skip": its own job, or in a sweep each one whose lane is full, does not wait."""
    rows = [me.job] if me.kind == "admit" else range(len(world.jobs))
    after = with_agents(world, without=me)
    for row in rows:
        if world.jobs[row].state != BLOCKED or model.plans[row].mode != "skip":
            continue
        if lock_owner(world, row, me) is not None:
            return
        if me.kind == "sweep" and model.rules.asks_busy and not is_full(model, world, row):
            continue
        is_other = me.kind == "admit" and world.jobs[row].retries != me.attempt
        if is_other and model.rules.asks_attempt:
            continue
        if not world.jobs[row].was_busy:
            raise Broken(f"job {row} is cancelled as busy though a place was free")
        after = with_job(after, row, state=CANCELLED)
    yield "cancels who does not wait", after


def _cancel(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    """One that is not running: it is read, locked as it is by then, and written."""
    job = world.jobs[me.job]
    if me.at == "read":
        if lock_owner(world, me.job, me) is None:
            yield "locks the row", with_agents(world, me._replace(at="locked"), without=me)
        return
    rest = with_agents(world, without=me)
    # Not a crash: the transaction of who cancels may be rolled back, and nobody looks then.
    yield "is rolled back", rest
    if job.state in (BLOCKED, QUEUED, SENT):
        if model.rules.cancel_looks or me.freed:
            yield "commits", freed(model, rest, me.job, CANCELLED)
        else:
            yield "commits", with_job(rest, me.job, state=CANCELLED, place=0)


def _settle_late(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    rest = with_agents(world, without=me)
    if model.rules.fences:
        yield "finds no row", rest
    else:
        yield "passes its place on", freed(model, rest, me.job, world.jobs[me.job].state)


def _retry(model: Model, world: World, me: Agent) -> tuple[str, World]:
    """A person retries a failed one: with its place if it has held its sequence, else in line."""
    job, rest = world.jobs[me.job], with_agents(world, without=me)
    if job.state != FAILED:
        return "finds no row", rest
    if job.place or (me.freed and not model.rules.asks_place):
        return "retries it at once", with_job(rest, me.job, state=SENT)
    rest = lined_up(model, rest, me.job)
    return "lines it up", with_agents(rest, me._replace(kind="admit", at="look", freed=()))


def look_inside(model: Model, world: World, index: int) -> World:
    """A twin: the settlement's own transaction chooses who comes next."""
    settled = with_job(world, index, state=SUCCEEDED, place=0)
    me = Agent("inside", lanes=(model.plans[index].lane,), job=index)
    seen = lock(model, with_agents(settled, me), me, look(model, settled, me))
    return with_agents(world, seen._replace(at="inside"))


def _commit_inside(model: Model, world: World, me: Agent) -> World:
    world = with_job(with_agents(world, without=me), me.job, state=SUCCEEDED, place=0)
    for row, number in me.pairs:
        world = with_job(world, row, state=SENT, place=number)
    return world


def deadlocks(model: Model, world: World) -> Iterator[tuple[str, World]]:
    """Two that wait for each other: one is aborted and tries again, and the other goes on."""
    for me in world.agents:
        other = waits_for(model, world, me)
        if other is not None and waits_for(model, world, other) == me:
            again = again_or_end(model, me, 0, refused=True)
            undone = with_agents(world, *again, without=me)
            for what, after in agent_steps(model, undone, other):
                yield f"{describe(me)} is aborted by a deadlock, {describe(other)} {what}", after


def waits_for(model: Model, world: World, me: Agent) -> Agent | None:
    if me.at == "lock" and me.lines and me.lines[0].rows:
        return lock_owner(world, me.lines[0].rows[0], me)
    if me.at == "write" and model.rules.unique:
        return writer(model, world, me)
    return None


def describe(agent: Agent) -> str:
    whose = f" of job {agent.job}" if agent.job >= 0 else ""
    return (
        f"{agent.kind}{whose} ({agent.at}, freed {agent.freed}{'' if agent.skips else ', again'})"
    )
