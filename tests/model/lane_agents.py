"""Processes between two steps: a statement that admits, what people do, a zombie.

READ COMMITTED. A statement that admits looks (its snapshot), locks those of the first rows that
nobody else has locked, each as it is by then, and writes them one after the other. What it has
written is seen at its COMMIT, but the unique index (lane, place) sees it at once: who writes the
same number waits for that COMMIT and is refused. No statement waits for a row that is locked; but
who finds one locked for which there is room looks again when it is not any more, or gives up if it
is locked for longer than a statement takes. A settlement that hands numbers on is a statement like
that, whose numbers are never free; the other ones are one step. What a view does locks first, and
may be rolled back. Who dies has written nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from .explore import Broken
from .lane_state import (
    BLOCKED,
    CANCELLED,
    FAILED,
    QUEUED,
    RUNNING,
    SENT,
    SUCCEEDED,
    Agent,
    Line,
    Model,
    World,
    freed,
    holders,
    is_ahead,
    lined_up,
    most,
    overtaken,
    waiting,
    with_agents,
    with_job,
)


def look(model: Model, world: World, agent: Agent) -> Agent:
    """The snapshot of a statement that admits: of each lane the first that wait, and no more than
    there is room for.
    """
    lanes = [waiting(model, world, lane) for lane in agent.lanes]
    see = first_of if agent.settles else seen_of
    lines = tuple(see(model, world, agent, rows) for rows in lanes if rows)
    return agent._replace(at="lock", lines=lines, pairs=(), overrides=world.overrides)


def seen_of(model: Model, world: World, agent: Agent, rows: list[int]) -> Line:
    rules, lane = model.rules, model.plans[rows[0]].lane
    places = [world.jobs[index].place for index in holders(model, world, lane)]
    n = most(model, world.overrides, rows[0])
    end = n if rules.within_n else max(n, *agent.freed, 0)
    numbers = [number for number in range(1, end + 1) if number not in places]
    if rules.prefers and not (rules.same_numbers and max(places, default=0) > n):
        numbers.sort(key=lambda number: (number not in agent.freed, number))
    held = sum(rules.counts_all or place <= n for place in places)
    room = max(0, min(len(numbers), n - held))
    fits = [
        not rules.own_n or held + rank <= most(model, world.overrides, row)
        for rank, row in enumerate(rows, 1)
    ]
    fitting = (*fits, False).index(False)
    return Line(tuple(rows[: min(room, fitting)] if rules.stays else rows), tuple(numbers), room)


def first_of(model: Model, world: World, agent: Agent, rows: list[int]) -> Line:
    """Only the first that waits, and for it the number of the job that is settled."""
    rules, row = model.rules, rows[0 if model.rules.hands_on_to_first else -1]
    lane, n = model.plans[row].lane, most(model, world.overrides, row)
    [number] = [world.jobs[i].place for i in agent.settles if model.plans[i].lane == lane]
    highest = max((world.jobs[index].place for index in holders(model, world, lane)), default=0)
    fits = number <= n and (highest <= n or not rules.asks_highest)
    return Line((row,), (number,) if fits else (), 1)


def lock_owner(world: World, row: int, but: Agent) -> Agent | None:
    """Who else has locked a row."""
    rest = list(world.agents)
    rest.remove(but)
    for agent in rest:
        is_locked = any(row == mine for mine, _ in agent.pairs) or row in agent.idle
        if is_locked or (agent.at, agent.job) == ("locked", row):
            return agent
    return None


def lock(model: Model, world: World, me: Agent, agent: Agent) -> Agent:
    """Lock the rows that nobody has locked, as they are by then, and pair them with the numbers."""
    pairs, idle, missed = [], [], False
    asks_number = model.rules.within_n and model.rules.own_n
    for line in agent.lines:
        locked = [
            row
            for row in line.rows
            if (world.jobs[row].state == BLOCKED or not model.rules.asks_state)
            and lock_owner(world, row, me) is None
        ]
        found = [
            (row, number)
            for row, number in zip(locked[: line.room], line.numbers, strict=False)
            if number <= most(model, agent.overrides, row) or not asks_number
        ]
        pairs += found
        idle += [row for row in locked if row not in dict(found)]
        missed = missed or len(found) < min(len(line.rows), line.room)
    return agent._replace(
        at="write", lines=(), missed=missed, pairs=tuple(pairs), idle=tuple(idle), written=0
    )


def writer(model: Model, world: World, me: Agent) -> Agent | None:
    """Who has written the number that this one is to write, or takes it from a job, and has not
    committed yet.
    """
    row, number = me.pairs[me.written]
    rest, lane = list(world.agents), model.plans[row].lane
    rest.remove(me)
    for agent in rest:
        for other, written in agent.pairs[: agent.written]:
            if agent.at == "write" and (model.plans[other].lane, written) == (lane, number):
                return agent
        held = (model.plans[agent.job].lane, world.jobs[agent.job].place)
        if agent.at == "locked" and held == (lane, number):
            return agent
    return None


def again_or_end(model: Model, agent: Agent, *, refused: bool = False) -> list[Agent]:
    """After a statement: what there is to do next."""
    rules = model.rules
    blank = Agent(agent.kind, "look", agent.lanes, agent.freed, agent.job, agent.has_missed)
    if refused and rules.tries_again:
        return [blank]
    if agent.missed and not refused and rules.waits:
        return [blank._replace(freed=(), has_missed=True)]
    if agent.kind == "sweep" or (agent.job >= 0 and model.plans[agent.job].mode == "skip"):
        return [blank._replace(at="busy", freed=())]
    return []


def agent_steps(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    """What an agent does next, if it waits for nobody."""
    owners = owners_of_missed(model, world, me) if me.at == "look" and me.has_missed else []
    if owners:
        if any(owner.at in ("locked", "busy locked") for owner in owners):
            yield "gives up", with_agents(world, *again_or_end(model, me), without=me)
    elif me.at == "look" and model.apart:
        yield "looks", with_agents(world, look(model, world, me), without=me)
    elif me.kind == "settle":
        yield from _settle(model, world, me)
    elif me.at in ("look", "lock"):
        yield from _lock(model, world, me)
    elif me.at == "write":
        yield from _write(model, world, me)
    elif me.at in ("busy", "busy locked"):
        yield from _cancel_busy(model, world, me)
    elif me.at == "inside":
        yield "commits", _commit_inside(model, world, me)
    elif me.kind == "retry":
        yield _retry(model, world, me)
    elif me.kind in ("cancel", "anyway"):
        yield from _move_one(model, world, me)
    elif me.kind == "resume":
        resumed = with_agents(world, Agent(lanes=me.lanes), without=me)
        yield "commits", resumed._replace(is_paused=False)
    elif me.kind == "zombie":
        yield from _settle_late(model, world, me)


def owners_of_missed(model: Model, world: World, me: Agent) -> list[Agent]:
    """Who has locked the rows that it would miss again. It looks now and then until nobody has; if
    it is a transaction that may take longer than a statement, it gives up some time.
    """
    rows = [row for line in look(model, world, me).lines for row in line.rows[: line.room]]
    owners = [lock_owner(world, row, me) for row in rows]
    return [owner for owner in owners if owner is not None]


def _lock(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    after = lock(model, world, me, look(model, world, me) if me.at == "look" else me)
    if not after.pairs:
        yield "finds no row", with_agents(world, *again_or_end(model, after), without=me)
        return
    orders = {after.pairs, after.pairs[::-1]} if model.any_order else {after.pairs}
    for pairs in sorted(orders):
        locked = after._replace(pairs=pairs)
        yield f"locks {pairs}", with_agents(world, locked, without=me)


def _write(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    if model.rules.unique and writer(model, world, me) is not None:
        return
    row, number = me.pairs[me.written]
    if is_refused(model, world, me):
        again = again_or_end(model, me, refused=True)
        yield f"is refused number {number}", with_agents(world, *again, without=me)
    elif me.written + 1 < len(me.pairs):
        after = me._replace(written=me.written + 1)
        yield f"writes {row, number}", with_agents(world, after, without=me)
    else:
        next_ = again_or_end(model, me)
        after_commit = with_agents(committed(model, world, me, SENT), *next_)
        yield f"commits {me.pairs} and sends", after_commit


def _settle(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    """The claims are compared when the rows are locked, and those who get the numbers are claimed
    with them. So nobody else can have a number meanwhile.
    """
    if me.at == "write":
        yield f"commits, and hands on {me.pairs}", handed_on(model, world, me, RUNNING)
        return
    seen = look(model, world, me) if me.at == "look" else me
    yield "locks the rows", with_agents(world, lock(model, world, me, seen), without=me)


def handed_on(model: Model, world: World, me: Agent, state: str) -> World:
    """They have succeeded, and who is next has their numbers.

    Where nobody has one, it has yet to look.
    """
    served, numbers = {model.plans[row].lane for row, _ in me.pairs}, []
    lanes = set(me.lanes) - served if model.rules.looks_again else set()
    for index in me.settles:
        if model.plans[index].lane not in served and model.has_choice:
            numbers.append(world.jobs[index].place)
        world = with_job(world, index, state=SUCCEEDED, place=0, late=False, is_forced=False)
    world = committed(model, world, me, state)
    for row, _ in me.pairs:
        world = with_job(world, row, has_begun=model.plans[row].mode == "skip")
    looks = Agent(lanes=tuple(sorted(lanes)), freed=tuple(sorted(numbers)))
    return with_agents(world, *[looks] * bool(lanes))


def settler(world: World, index: int) -> Agent | None:
    """Who is about to settle a job by a statement that hands its number on."""
    return next((one for one in world.agents if index in one.settles), None)


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
    if me.kind == "settle":
        return me.at == "write"
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
    """when_busy="skip": its own job, or in a sweep each one, does not wait where somebody has a
    place. One statement: it locks the rows, or waits until they are not locked, and writes them.
    """
    if me.at == "busy locked":
        after, lanes = with_agents(world, without=me), set()
        for row, _ in me.pairs:
            if world.jobs[row].has_begun:
                raise Broken(f"job {row} is cancelled as busy though it has begun")
            if not world.jobs[row].was_busy:
                raise Broken(f"job {row} is cancelled as busy though a place was free")
            after = overtaken(with_job(after, row, state=CANCELLED), row)
            lanes.add(model.plans[row].lane)
        looks = [Agent(lanes=tuple(sorted(lanes)))] * model.rules.busy_looks
        yield "commits, and the job is cancelled", with_agents(after, *looks)
        return
    rows = [me.job] if me.kind == "admit" else range(len(world.jobs))
    found = tuple((row, 0) for row in rows if _is_impatient(model, world, row))
    if not found:
        yield "cancels nobody", with_agents(world, without=me)
    elif not any(lock_owner(world, row, me) for row, _ in found):
        locked = me._replace(at="busy locked", pairs=found)
        yield "locks who does not wait", with_agents(world, locked, without=me)


def _is_impatient(model: Model, world: World, row: int) -> bool:
    job, plan, rules = world.jobs[row], model.plans[row], model.rules
    is_first = not job.has_begun or not rules.asks_claims
    is_busy = bool(holders(model, world, plan.lane)) or not rules.asks_busy
    return plan.mode == "skip" and job.state == BLOCKED and is_first and is_busy


def _move_one(model: Model, world: World, me: Agent) -> Iterator[tuple[str, World]]:
    """A view cancels one that is not running, or runs one anyway that waits: its transaction locks
    the row, as it is by then, and is committed later, or rolled back.
    """
    sources = (BLOCKED, QUEUED, SENT) if me.kind == "cancel" else (BLOCKED,)
    rest, rules = with_agents(world, without=me), model.rules
    if me.at == "read":
        if world.jobs[me.job].state not in sources:
            yield "finds no row", rest
        elif lock_owner(world, me.job, me) is None:
            yield "locks the row", with_agents(rest, me._replace(at="locked"))
        return
    yield "is rolled back", rest._replace(is_dirty=True)
    if me.kind == "anyway":
        forced = with_job(overtaken(rest, me.job), me.job, state=SENT, is_forced=True)
        looks = [Agent(lanes=me.lanes)] * rules.anyway_looks
        yield "commits, and sends it", with_agents(forced, *looks)
    elif rules.cancel_looks or me.freed:
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
            again = again_or_end(model, me, refused=True)
            undone = with_agents(world, *again, without=me)
            for what, after in agent_steps(model, undone, other):
                yield f"{describe(me)} is aborted by a deadlock, {describe(other)} {what}", after


def waits_for(model: Model, world: World, me: Agent) -> Agent | None:
    """Whose commit it waits for; to lock a row no statement that admits waits."""
    writes = me.at == "write" and me.kind != "settle"
    return writer(model, world, me) if writes and model.rules.unique else None


def describe(agent: Agent) -> str:
    whose = f" of job {agent.job}" if agent.job >= 0 else ""
    return f"{agent.kind}{whose} ({agent.at}, freed {agent.freed})"
