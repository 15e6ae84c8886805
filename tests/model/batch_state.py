"""The rows of workflows as they are searched: batches, jobs, and the processes that write them.

A row has a number: a batch from 0 on, a job from 10 on, in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

NONE = -1
FIRST_JOB = 10

# Where a job is.
NEW, BLOCKED, QUEUED, RUNNING = "new", "blocked", "queued", "running"
SUCCEEDED, FAILED, CANCELLED, SKIPPED = "succeeded", "failed", "cancelled", "skipped"
WAITING, LIVE = (BLOCKED, QUEUED), (BLOCKED, QUEUED, RUNNING)
NOT_NEEDED = "not needed"

# What a job waits for at its gate.
NEXT, SUCCESS, FAILURE, END = "next", "success", "failure", "end"
EACH = (NEXT, SUCCESS, FAILURE, END)

# Where the process of a running job is.
RUNS, ADDS, ADDED, SETTLES, DEAD = "runs", "adds", "added", "settles", "dead"

Statement = tuple[Any, ...]


class BatchPlan(NamedTuple):
    parent: int = NONE
    gate: int = NONE
    is_added: bool = False


class JobPlan(NamedTuple):
    """adds: the rows that it adds, in one transaction, to the batch adds_to."""

    batch: int = 0
    gate: int = NONE
    gate_on: str = NEXT
    outcomes: tuple[str, ...] = (SUCCEEDED,)
    adds: tuple[int, ...] = ()
    adds_to: int = NONE
    is_added: bool = False


class Batch(NamedTuple):
    is_there: bool = False
    is_opened: bool = False
    outcome: str = ""
    has_failed: bool = False
    is_cancelled: bool = False


class Job(NamedTuple):
    """releases: how often its gate let it go."""

    state: str = NEW
    code: str = ""
    claims: int = 0
    releases: int = 0


class Agent(NamedTuple):
    """A process and the statements that it has yet to execute.

    changes: what it has written and not committed. locks: pairs of a row and a mode. has_looked:
    the statement has its snapshot, and waits for the rows that it found in it.
    """

    kind: str
    key: int
    todo: tuple[Statement, ...]
    claim: int = NONE
    changes: tuple[tuple[int, Any], ...] = ()
    locks: tuple[tuple[int, str], ...] = ()
    has_looked: bool = False
    found: tuple[int, ...] = ()


class World(NamedTuple):
    """A state. runs: where the process of each job is. done: the wishes that came true."""

    batches: tuple[Batch, ...]
    jobs: tuple[Job, ...]
    runs: tuple[str, ...]
    agents: tuple[Agent, ...] = ()
    done: tuple[str, ...] = ()
    faults: int = 0
    is_dirty: bool = False


@dataclass(frozen=True)
class Rules:
    """The protocol, or it without one of its rules.

    Completion. asks: a completer locks the batch and "then" asks again, or does all in one
    statement "at once", or that "inside" the transaction of the last member. looks_up: who
    completes a batch looks at its parent; looks_at_opened: who opens one looks at it. leaves_out: a
    callback that is not needed is no failure.

    Gates. opens_first: batches are opened before jobs are released. repeats: until no more batches
    are found. skips: at each level "batches" or "jobs" first. marks: failed_at is set "inside" the
    transaction of a failure, or "after" it. fails_closed: the first failure in a batch that is not
    opened, a cancelled member's, releases its callback, and not its end.

    Claims. asks_claim: who adds reads its claim "locked", "unlocked" or "no"; claim_first: before
    it locks the batch. asks_closed: it asks whether the batch is over. job_first: who ends a
    running job writes its row before those of batches. fences: a lost claim undoes all.

    Manual retry. locks_path: it locks the batches above. asks_gate: it asks whether the gate has
    been passed. locks_gate: a job that is the gate is locked "at once" or the retry is refused, or
    it "waits", or it does "not". asks_state: it leaves a job that runs. refuses: it leaves a
    member of a batch that was skipped. revives: it brings back what was skipped, "as new" or "as
    it was", or does "not".

    Cancel. skips_locked: it leaves rows that others have locked. leaves_callbacks: it leaves them,
    too. goes_on: a sweep goes on with it.
    """

    asks: str = "then"
    opens_first: bool = True
    repeats: bool = True
    skips: str = "batches"
    marks: str = "inside"
    fails_closed: bool = False
    locks_path: bool = True
    asks_gate: bool = True
    asks_claim: str = "locked"
    claim_first: bool = True
    job_first: bool = True
    asks_closed: bool = True
    leaves_out: bool = True
    fences: bool = True
    refuses: bool = True
    revives: str = "as new"
    looks_up: bool = True
    looks_at_opened: bool = True
    sweeps: bool = True
    goes_on: bool = True
    skips_locked: bool = True
    leaves_callbacks: bool = True
    locks_gate: str = "at once"
    asks_state: bool = True


@dataclass(frozen=True)
class Model:
    """What is searched. wants: pairs of a verb and a row. apart: a statement looks, then writes."""

    batches: tuple[BatchPlan, ...]
    jobs: tuple[JobPlan, ...]
    wants: tuple[tuple[str, int], ...] = ()
    wishes: int = 0
    faults: int = 0
    apart: bool = False
    rules: Rules = Rules()

    def plan(self, key: int) -> JobPlan:
        return self.jobs[key - FIRST_JOB]

    @cached_property
    def job_keys(self) -> range:
        return range(FIRST_JOB, FIRST_JOB + len(self.jobs))

    @cached_property
    def batch_keys(self) -> range:
        return range(len(self.batches))

    @cached_property
    def batch_gates(self) -> frozenset[int]:
        return frozenset(plan.gate for plan in self.batches) - {NONE}

    @cached_property
    def job_gates(self) -> frozenset[tuple[int, str]]:
        return frozenset((plan.gate, plan.gate_on) for plan in self.jobs)

    @cached_property
    def paths(self) -> dict[int, tuple[int, ...]]:
        """The batches of a job, or of a batch and above it, in the order of their ids."""
        found: dict[int, tuple[int, ...]] = {NONE: ()}
        for key, plan in enumerate(self.batches):
            found[key] = (*found[plan.parent], key)
        for key in self.job_keys:
            found[key] = found[self.plan(key).batch]
        return found

    def releases_batches(self, gates: tuple[int, ...]) -> bool:
        return not self.batch_gates.isdisjoint(gates)

    def releases_jobs(self, gates: tuple[int, ...], gate_on: tuple[str, ...]) -> bool:
        return any((gate, on) in self.job_gates for gate in gates for on in gate_on)

    def is_within(self, key: int, batch: int) -> bool:
        return batch in self.paths[key]


class View:
    """What a statement sees: all that is committed, and what its own transaction has written."""

    def __init__(self, model: Model, world: World, agent: Agent | None = None):
        self.model, self.world = model, world
        self.own = dict(agent.changes) if agent else {}

    def batch(self, key: int) -> Batch:
        row: Batch = self.own.get(key) or self.world.batches[key]
        return row

    def job(self, key: int) -> Job:
        row: Job = self.own.get(key) or self.world.jobs[key - FIRST_JOB]
        return row

    def members(self, batch: int) -> Iterator[Job]:
        return (self.job(key) for key in self.model.job_keys if self.model.plan(key).batch == batch)

    def children(self, batch: int) -> Iterator[Batch]:
        for key, plan in enumerate(self.model.batches):
            if plan.parent == batch and self.batch(key).is_there:
                yield self.batch(key)

    def is_complete(self, batch: int) -> bool:
        """Opened, not finished, without a live member and an open child."""
        row = self.batch(batch)
        if not row.is_there or not row.is_opened or row.outcome:
            return False
        if any(job.state in LIVE for job in self.members(batch)):
            return False
        return all(child.outcome for child in self.children(batch))

    def outcome(self, batch: int, left_out: str = NOT_NEEDED) -> str:
        """left_out: the code of cancelled jobs that are no failures."""
        if self.batch(batch).is_cancelled:
            return CANCELLED
        for job in self.members(batch):
            if job.state in (FAILED, CANCELLED) and job.code != left_out:
                return FAILED
        if any(child.outcome != SUCCEEDED for child in self.children(batch)):
            return FAILED
        return SUCCEEDED


def first(model: Model) -> World:
    """All that is not added later is enqueued."""
    jobs = [Job() if p.is_added else Job(BLOCKED if p.gate != NONE else QUEUED) for p in model.jobs]
    batches = [Batch(not p.is_added, p.gate == NONE and not p.is_added) for p in model.batches]
    return World(tuple(batches), tuple(jobs), ("",) * len(jobs), faults=model.faults)


def with_run(world: World, key: int, run: str) -> World:
    index = key - FIRST_JOB
    return world._replace(runs=(*world.runs[:index], run, *world.runs[index + 1 :]))


def with_agents(world: World, *agents: Agent, without: Agent | None = None) -> World:
    """These come, that one goes. Equal ones are told apart by nothing, so they stand in order."""
    rest = list(world.agents)
    if without is not None:
        rest.remove(without)
    return world._replace(agents=tuple(sorted((*rest, *agents))))


def with_rows(world: World, changes: tuple[tuple[int, Any], ...]) -> World:
    batches, jobs = list(world.batches), list(world.jobs)
    for key, row in changes:
        if key >= FIRST_JOB:
            jobs[key - FIRST_JOB] = row
        else:
            batches[key] = row
    return world._replace(batches=tuple(batches), jobs=tuple(jobs))
