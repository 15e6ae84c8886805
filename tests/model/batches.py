"""All that happens to workflows, and an exhaustive search of it.

A job that is queued begins at once, but where somebody may cancel it before. A sweep comes after a
crash only, and when all processes are at rest, so that whatever else needs it is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .batch_agents import agent_steps, describe, is_locked, killed
from .batch_state import (
    ADDED,
    ADDS,
    BLOCKED,
    CANCELLED,
    DEAD,
    END,
    FAILED,
    FAILURE,
    FIRST_JOB,
    LIVE,
    NEW,
    NEXT,
    NONE,
    QUEUED,
    RUNNING,
    RUNS,
    SETTLES,
    SKIPPED,
    SUCCEEDED,
    SUCCESS,
    WAITING,
    Agent,
    Job,
    JobPlan,
    Model,
    View,
    World,
    first,
    with_agents,
    with_rows,
    with_run,
)
from .batch_statements import (
    OF_WAITING,
    added,
    cancelled,
    ended,
    look,
    requeued,
    retried,
    succeeded,
    waiting_members,
)
from .explore import Broken, Step, explore


def steps(model: Model, world: World) -> Iterator[Step]:
    """All that can happen next."""
    for key in model.job_keys:
        yield from job_steps(model, world, key)
    for agent in dict.fromkeys(world.agents):
        for what, after in agent_steps(model, world, agent):
            yield Step(True, f"{describe(agent)} {what}", after)
    if world.is_dirty and not world.agents and model.rules.sweeps:
        yield Step(True, "a sweep begins", swept(model, world._replace(is_dirty=False)))
    if world.faults:
        yield from deaths(model, world._replace(faults=world.faults - 1))
    if len(world.done) < model.wishes:
        for verb, key in model.wants:
            for agent in wishes(model, world, verb, key):
                done = tuple(sorted((*world.done, verb)))
                after = with_agents(world._replace(done=done), agent)
                yield Step(False, f"somebody wants: {describe(agent)}", after)


def job_steps(model: Model, world: World, key: int) -> Iterator[Step]:
    """What may happen to a job next."""
    view, run, plan = View(model, world), world.runs[key - FIRST_JOB], model.plan(key)
    job, who = view.job(key), f"job {key}"
    if job.state == QUEUED and not is_locked(world, key):
        yield Step(True, f"{who} begins", begun(world, key, job))
    elif job.state == RUNNING and run == RUNS and may_add(view, plan):
        agent = Agent("add", key, added(model, key, job.claims), job.claims)
        yield Step(True, f"{who} is to add", with_run(with_agents(world, agent), key, ADDS))
    elif job.state == RUNNING and run in (RUNS, ADDED):
        settling = with_run(world, key, SETTLES)
        for what, agent in settlements(model, world, key, "settle"):
            yield Step(True, f"{who} is to settle: {what}", with_agents(settling, agent))
    elif job.state == RUNNING and run == DEAD:
        for what, agent in rescues(model, key, job):
            after = with_run(with_agents(world, agent), key, SETTLES)
            yield Step(True, f"{who} is to be {what}", after)


def begun(world: World, key: int, job: Job) -> World:
    changed = job._replace(state=RUNNING, claims=job.claims + 1)
    return with_run(with_rows(world, ((key, changed),)), key, RUNS)


def may_add(view: View, plan: JobPlan) -> bool:
    """It knows of the batch, and nobody has added these rows before."""
    return bool(plan.adds) and view.batch(plan.adds_to).is_there and is_new(view, plan.adds)


def is_new(view: View, keys: tuple[int, ...]) -> bool:
    return all(
        view.job(key).state == NEW if key >= FIRST_JOB else not view.batch(key).is_there
        for key in keys
    )


def settlements(model: Model, world: World, key: int, kind: str) -> Iterator[tuple[str, Agent]]:
    plan, claim = model.plan(key), View(model, world).job(key).claims
    outcomes = plan.outcomes
    if any(world.batches[batch].is_cancelled for batch in model.paths[key]):
        outcomes = (*outcomes, CANCELLED)
    for state in outcomes:
        is_success = state == SUCCEEDED
        todo = succeeded(model, key, claim) if is_success else ended(model, key, claim, state)
        yield state, Agent(kind, key, todo, claim)


def rescues(model: Model, key: int, job: Job) -> Iterator[tuple[str, Agent]]:
    claim = job.claims
    yield "rescued", Agent("rescue", key, requeued(key, claim), claim)
    yield "failed by its rescue", Agent("rescue", key, ended(model, key, claim, FAILED), claim)


def wishes(model: Model, world: World, verb: str, key: int) -> Iterator[Agent]:
    view = View(model, world)
    if verb == "retry":
        job = view.job(key)
        if job.state in (FAILED, CANCELLED) and not job.code:
            yield Agent("retry", key, retried(key))
    elif verb == "cancel job":
        if view.job(key).state in WAITING:
            yield Agent("cancel job", key, ended(model, key, OF_WAITING, CANCELLED))
    elif verb == "cancel" and view.batch(key).is_there and not view.batch(key).outcome:
        yield Agent("cancel", key, cancelled(key))
    elif verb == "sweep":
        for batch in model.batch_keys:
            if view.is_complete(batch):
                yield Agent("sweep", batch, tuple(look(batch)))


def deaths(model: Model, world: World) -> Iterator[Step]:
    """A process dies, or is taken for dead; a transaction that it had open is rolled back."""
    view = View(model, world)
    for key in model.job_keys:
        job, run, plan = view.job(key), world.runs[key - FIRST_JOB], model.plan(key)
        if job.state != RUNNING or run not in (RUNS, ADDED):
            continue
        yield Step(False, f"the process of job {key} dies", with_run(world, key, DEAD))
        zombies = [agent for _, agent in settlements(model, world, key, "zombie settle")]
        if run == RUNS and may_add(view, plan):
            zombies = [Agent("zombie add", key, added(model, key, job.claims), job.claims)]
        for what, rescue in rescues(model, key, job):
            for zombie in zombies:
                after = with_run(with_agents(world, rescue, zombie), key, SETTLES)
                yield Step(False, f"job {key} is to be {what}, while its process lives", after)
    for agent in dict.fromkeys(world.agents):
        yield Step(False, f"{describe(agent)} dies", killed(world, agent))


def swept(model: Model, world: World) -> World:
    """Batches that look complete are tried, and a cancel that is not done goes on."""
    view = View(model, world)
    for batch, row in enumerate(world.batches):
        if view.is_complete(batch):
            world = with_agents(world, Agent("sweep", batch, tuple(look(batch))))
        elif model.rules.goes_on and row.is_cancelled and waiting_members(view, batch):
            world = with_agents(world, Agent("sweep", batch, (("look for waiting", batch),)))
    return world


def search(model: Model) -> int:
    """Visit every state; how many there are. Raises Counterexample at the first that is wrong."""

    def next_steps(world: World) -> Iterator[Step]:
        for step in steps(model, world):
            yield step._replace(world=noted(model, step.world))

    start = noted(model, first(model))
    looks = [Agent("sweep", key, tuple(look(key))) for key in empty_batches(model, start)]
    start = with_agents(start, *looks)
    return explore(start, next_steps, partial(_confirm, model), partial(_confirm_end, model))


def empty_batches(model: Model, world: World) -> list[int]:
    return [key for key in model.batch_keys if View(model, world).is_complete(key)]


def noted(model: Model, world: World) -> World:
    """Who is queued begins at once, but where that makes a difference."""
    if any(verb.startswith("cancel") for verb, _ in model.wants):
        return world
    for key in model.job_keys:
        job = world.jobs[key - FIRST_JOB]
        if job.state == QUEUED and not is_locked(world, key):
            world = begun(world, key, job)
    return world


def _confirm(model: Model, world: World) -> None:
    view = View(model, world)
    for batch in model.batch_keys:
        if view.batch(batch).is_there:
            confirm_batch(view, batch)
    for key in model.job_keys:
        confirm_job(world, view, key)


def confirm_batch(view: View, batch: int) -> None:
    row, plan = view.batch(batch), view.model.batches[batch]
    if row.outcome:
        if any(job.state in LIVE for job in view.members(batch)):
            raise Broken(f"batch {batch} is over and has a live member")
        if any(not child.outcome for child in view.children(batch)):
            raise Broken(f"batch {batch} is over and has an open child")
        return
    if not row.is_opened and is_over(view, plan.gate):
        raise Broken(f"batch {batch} waits for what is over")
    if plan.parent != NONE and view.batch(plan.parent).is_cancelled and not row.is_cancelled:
        raise Broken(f"batch {batch} is not cancelled, though its parent is")


def confirm_job(world: World, view: View, key: int) -> None:
    job, plan = view.job(key), view.model.plan(key)
    if job.state == BLOCKED and is_over(view, plan.gate):
        raise Broken(f"job {key} waits for what is over")
    if job.state == RUNNING:
        confirm_begin(view, key)
    if job.state == FAILED and not {"cancel", "retry"} & set(world.done):
        confirm_early_failure(view, key)
    if job.code == SKIPPED and plan.gate_on == NEXT and is_passed(view, plan.gate):
        raise Broken(f"job {key} stays skipped, though its gate succeeded")
    if is_left(world, view, key):
        raise Broken(f"job {key} waits, though its batch is cancelled")
    if job.releases > 1 and plan.gate_on != NEXT:
        raise Broken(f"callback {key} is released twice")


def is_over(view: View, gate: int) -> bool:
    if gate == NONE:
        return False
    if gate >= FIRST_JOB:
        return view.job(gate).state not in (*LIVE, NEW)
    return bool(view.batch(gate).outcome)


def is_passed(view: View, gate: int) -> bool:
    is_job = gate >= FIRST_JOB
    return (view.job(gate).state if is_job else view.batch(gate).outcome) == SUCCEEDED


def is_left(world: World, view: View, key: int) -> bool:
    """A cancel has not reached it, and nobody is about to."""
    job, plan = view.job(key), view.model.plan(key)
    if world.agents or world.is_dirty or plan.batch == NONE or job.claims:
        return False
    is_member = plan.gate_on == NEXT and job.state in WAITING
    return is_member and view.batch(plan.batch).is_cancelled


def confirm_begin(view: View, key: int) -> None:
    """What it waited for ended well, and its batch is opened."""
    plan = view.model.plan(key)
    if plan.gate != NONE and plan.gate_on in (NEXT, SUCCESS) and not is_passed(view, plan.gate):
        raise Broken(f"job {key} begins before its turn")
    if plan.batch != NONE and not view.batch(plan.batch).is_opened:
        raise Broken(f"job {key} begins in a batch that is not opened")


def confirm_early_failure(view: View, key: int) -> None:
    """Failure callbacks are released with the first failure."""
    for other, plan in enumerate(view.model.jobs, FIRST_JOB):
        is_due = plan.gate_on == FAILURE and plan.gate in view.model.paths[key]
        if is_due and view.job(other).state == BLOCKED:
            raise Broken(f"callback {other} still waits, though job {key} failed")


def _confirm_end(model: Model, world: World) -> None:
    """Nothing more happens: all is over, and each batch has had its callbacks."""
    view = View(model, world)
    if world.agents:
        raise Broken("a deadlock of " + ", ".join(map(describe, world.agents)))
    for batch, row in enumerate(world.batches):
        if row.is_there and not row.outcome:
            raise Broken(f"batch {batch} never completes")
        if row.is_there and row.outcome not in (SKIPPED, view.outcome(batch)):
            raise Broken(f"batch {batch} is {row.outcome} and should be {view.outcome(batch)}")
    for key in model.job_keys:
        job, plan = view.job(key), model.plan(key)
        if job.state in LIVE:
            raise Broken(f"job {key} never ends")
        if plan.gate_on != NEXT and view.batch(plan.gate).is_there:
            confirm_callback(world, view.batch(plan.gate).outcome, key, plan.gate_on, job)


def confirm_callback(world: World, outcome: str, key: int, gate_on: str, job: Job) -> None:
    runs = {SUCCESS: (SUCCEEDED,), FAILURE: (FAILED,), END: (SUCCEEDED, FAILED, CANCELLED)}
    is_due, has_run = outcome in runs[gate_on], bool(job.releases)
    if is_due and not has_run:
        raise Broken(f"callback {key} ({gate_on}) never runs though its batch {outcome}")
    # A failure may have had its callback before a retry, or a cancel, changed the outcome.
    may_have_run = gate_on == FAILURE and world.done and outcome != SKIPPED
    if has_run and not is_due and not may_have_run:
        raise Broken(f"callback {key} ({gate_on}) runs though its batch {outcome}")
