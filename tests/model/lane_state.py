"""Limits and sequences as they are searched: jobs that wait in a lane for one of its places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# Where a job is. QUEUED has no message yet, LOST has a holder that is dead.
NEW, BLOCKED, SCHEDULED = "new", "blocked", "scheduled"
QUEUED, SENT, RUNNING, LOST = "queued", "sent", "running", "lost"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"

LIVE = (BLOCKED, SCHEDULED, QUEUED, SENT, RUNNING, LOST)
SEQUENCES = ("hold", "pass")
NOT_SET = -1


class Plan(NamedTuple):
    """As what a job is enqueued.

    At the start it is not, but it waits, or it runs_at a place.
    """

    mode: str = "wait"
    at_once: int = 1
    lane: int = 0
    is_pausable: bool = False
    runs_at: int = 0
    waits: bool = False


class Job(NamedTuple):
    """A row. What follows retries is known to the model only.

    earlier: the jobs of its sequence that must be over before it begins. late: admitted by a
    statement that had looked before N was lowered. was_busy: its lane was full while it waited.
    has_begun: noted of those only that do not wait for their first attempt.
    """

    state: str = NEW
    place: int = 0
    retries: int = 0
    earlier: tuple[int, ...] = ()
    is_forced: bool = False
    late: bool = False
    was_busy: bool = False
    has_begun: bool = False


class Line(NamedTuple):
    """What a statement has seen of a lane: whom it considers, the numbers for them in their order,
    and for how many there is room.
    """

    rows: tuple[int, ...]
    numbers: tuple[int, ...]
    room: int


class Agent(NamedTuple):
    """A process between two steps, mostly one that admits.

    kind: "admit", "settle", "sweep", "cancel", "anyway", "resume", "retry", "zombie" or "inside".
    freed: the numbers that it prefers. job: whose it is, or -1. missed: somebody was not admitted
    for whom there is room; has_missed: in an earlier look. pairs: the rows that it has locked,
    with their numbers. written: how many of them the index knows. idle: rows that it has locked for
    nothing. overrides: those of its snapshot. settles: the jobs that it settles, whose numbers it
    hands on.
    """

    kind: str = "admit"
    at: str = "look"
    lanes: tuple[int, ...] = (0,)
    freed: tuple[int, ...] = ()
    job: int = -1
    has_missed: bool = False
    lines: tuple[Line, ...] = ()
    missed: bool = False
    pairs: tuple[tuple[int, int], ...] = ()
    written: int = 0
    idle: tuple[int, ...] = ()
    overrides: tuple[int, ...] = ()
    settles: tuple[int, ...] = ()


class World(NamedTuple):
    """A state of the model.

    wishes, faults: how many more there may be. is_dirty: a sweep is due, after a crash or after a
    transaction was rolled back that had locked a row.
    """

    jobs: tuple[Job, ...]
    overrides: tuple[int, ...]
    agents: tuple[Agent, ...] = ()
    is_paused: bool = False
    wishes: int = 0
    faults: int = 0
    is_dirty: bool = False


@dataclass(frozen=True)
class Rules:
    """The protocol, or it without one of its rules.

    looks: "after" the commit, or "before" it. waits: who has found a row locked looks again when it
    is not. tries_again: when the index or a deadlock has refused it. stays: it does not look behind
    the first rows. unique: the index. asks_state: a row that is locked must still wait. counts_all:
    numbers above N are held too. within_n: none above N is handed on. own_n: each row is admitted
    by its own N, not by that of the first. prefers: the freed numbers. hands_on: who settles a
    success hands its number on in the same statement, to the first that waits,
    hands_on_to_first, and not if a number above N is held, asks_highest; where there is nobody,
    it looks_again after its commit. same_numbers: freed numbers are not preferred where one above N
    is held, so that all want the same ones. fences: a zombie writes nothing. sweeps: after a crash,
    after a rollback, and where N differs within a lane. keeps: a sequence keeps its place until a
    later attempt. takes: a paused queue loses its places "always", "once" when it is paused, or
    "never". resumes: who resumes reads the lanes "after" its commit, or "before" it. cancel_looks,
    raise_looks, anyway_looks, busy_looks: after their commit too. asks_busy: only where somebody
    has a place one is cancelled that does not wait. asks_claims: only if it has never begun.
    asks_place: a retry goes by the place that it finds when it writes.
    """

    looks: str = "after"
    waits: bool = True
    tries_again: bool = True
    stays: bool = True
    unique: bool = True
    asks_state: bool = True
    counts_all: bool = True
    within_n: bool = True
    own_n: bool = True
    prefers: bool = True
    hands_on: bool = True
    hands_on_to_first: bool = True
    asks_highest: bool = True
    looks_again: bool = True
    same_numbers: bool = True
    fences: bool = True
    sweeps: bool = True
    keeps: bool = True
    takes: str = "always"
    resumes: str = "after"
    cancel_looks: bool = True
    raise_looks: bool = True
    anyway_looks: bool = True
    busy_looks: bool = True
    asks_busy: bool = True
    asks_claims: bool = True
    asks_place: bool = True


@dataclass(frozen=True)
class Model:
    """What is searched.

    outcomes: of attempts. group: jobs that one transaction settles. wants: the kinds of wishes, and
    wishes how many. overrides: values that N may be set to. apart: others come between the look and
    the locks of a statement. any_order: two rows are written in either order.
    """

    plans: tuple[Plan, ...]
    outcomes: tuple[str, ...] = ("succeeds",)
    retries: int = 1
    group: tuple[int, ...] = ()
    wants: tuple[str, ...] = ()
    wishes: int = 0
    overrides: tuple[int, ...] = ()
    faults: int = 0
    apart: bool = False
    any_order: bool = False
    rules: Rules = Rules()

    @property
    def lanes(self) -> int:
        return 1 + max(plan.lane for plan in self.plans)

    @property
    def has_choice(self) -> bool:
        """Of several numbers one may be preferred."""
        return max((*self.overrides, *(plan.at_once for plan in self.plans))) > 1


def first(model: Model) -> World:
    none = (NOT_SET,) * model.lanes
    world = World((Job(),) * len(model.plans), none, wishes=model.wishes, faults=model.faults)
    for index, plan in enumerate(model.plans):
        if plan.runs_at or plan.waits:
            world = lined_up(model, world, index)
        if plan.runs_at:
            world = with_job(world, index, state=RUNNING, place=plan.runs_at)
    return world


def is_sequence(model: Model, index: int) -> bool:
    return model.plans[index].mode in SEQUENCES


def most(model: Model, overrides: tuple[int, ...], index: int) -> int:
    """N for this job: an override of its lane, else as it was enqueued; a sequence has one."""
    plan = model.plans[index]
    n = plan.at_once if overrides[plan.lane] == NOT_SET else overrides[plan.lane]
    return min(n, 1) if plan.mode in SEQUENCES else n


def holders(model: Model, world: World, lane: int) -> list[int]:
    pairs = enumerate(world.jobs)
    return [index for index, job in pairs if job.place and model.plans[index].lane == lane]


def waiting(model: Model, world: World, lane: int) -> list[int]:
    """Who waits, in order. The limited jobs of a paused queue are left out."""
    return [
        index
        for index, job in enumerate(world.jobs)
        if job.state == BLOCKED
        and model.plans[index].lane == lane
        and not (is_stopped(model, world, index) and not is_sequence(model, index))
    ]


def is_stopped(model: Model, world: World, index: int) -> bool:
    return world.is_paused and model.plans[index].is_pausable


def with_job(world: World, index: int, **changes: object) -> World:
    job = world.jobs[index]._replace(**changes)  # type: ignore[arg-type]
    return world._replace(jobs=(*world.jobs[:index], job, *world.jobs[index + 1 :]))


def with_agents(world: World, *agents: Agent, without: Agent | None = None) -> World:
    """These come, that one goes. Equal ones are told apart by nothing, so they stand in order."""
    rest = list(world.agents)
    if without is not None:
        rest.remove(without)
    return world._replace(agents=tuple(sorted((*rest, *agents))))


def lined_up(model: Model, world: World, index: int) -> World:
    """It waits in its lane: behind those of its sequence that wait there or have the place.

    Whom it overtook before, by a mode or by a person, need not wait for it again.
    """
    lane, jobs = model.plans[index].lane, world.jobs
    earlier = tuple(
        other
        for other in range(index)
        if is_sequence(model, index)
        and is_sequence(model, other)
        and model.plans[other].lane == lane
        and (jobs[other].state == BLOCKED or jobs[other].place)
    )
    world = overtaken(world, index)
    return with_job(world, index, state=BLOCKED, place=0, earlier=earlier, was_busy=False)


def overtaken(world: World, index: int) -> World:
    """Those behind it need not wait for it any more."""
    for other in range(index + 1, len(world.jobs)):
        left = tuple(one for one in world.jobs[other].earlier if one != index)
        world = with_job(world, other, earlier=left)
    return world


def is_ahead(job: Job) -> bool:
    """Those behind it in a sequence have to wait: it is not over, or it failed and holds."""
    return job.state in LIVE or bool(job.place)


def freed(model: Model, world: World, index: int, state: str) -> World:
    """It gives up its place, and who did it looks after the commit."""
    place = world.jobs[index].place
    world = with_job(world, index, state=state, place=0, late=False, is_forced=False)
    numbers = (place,) if place and model.has_choice else ()
    return with_agents(world, Agent(lanes=(model.plans[index].lane,), freed=numbers))


def is_full(model: Model, world: World, row: int) -> bool:
    return len(holders(model, world, model.plans[row].lane)) >= most(model, world.overrides, row)
