"""What is wrong with a backend, and what to do: one judgement for all who show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from shlex import quote
from typing import Any

from ..core.messages import Reason
from .batches import StuckBatch, StuckWhy
from .commands import to_type
from .failures import FailureWindow
from .health import WorkerHealth
from .problems import LEVELS, Level, Problem, Target
from .schedules import ScheduleTrouble
from .snapshot import QueueSnapshot, Snapshot, WorkerSnapshot

# A job that is queued for longer counts as a backlog.
LONG_WAIT = 300.0
# A shorter wait does not move a queue up.
NOTICED = 5.0
# A worker has found a queue that is new to it before.
UNSERVED = 30.0
# Maintenance promotes a due job within a second: who is so late has stopped.
STALLED = 40.0
# So many must have ended within the hour before a share of failures says something.
ENOUGH, MANY_FAIL = 10, 0.5
# So many failures since yesterday are worth a look, if they are not lost in what went well.
SEVERAL, NOTABLE = 10, 0.01
# So many problems of one kind come before the other kinds of their level.
ALIKE = 3
# What a problem with a workflow says of the job for which that waits.
OF_STUCK = ("job", "task", "queue", "key")


def diagnose(snapshot: Snapshot) -> list[Problem]:
    """All that is wrong, the worst first. Of what a snapshot leaves out, it says nothing.

    Probes take a snapshot of workers and maintenance only: healthz tells what is critical there.
    """
    parts = (
        *(_mode, _workers, _redis, _maintenance, _schedules, _overrun, _unknown_backends, _held),
        *(_waits, _batches),
    )
    found = [problem for part in parts for problem in part(snapshot)]
    found += _failures(snapshot.failures)
    for queue in sorted(snapshot.queues, key=lambda queue: -(queue.oldest or 0)):
        found += _queue(queue, snapshot)
    return _worst_first(found)


def diagnose_part(snapshot: Snapshot, failures: FailureWindow, **part: str) -> list[Problem]:
    """What is wrong with one `queue` or one `task` alone. failures: its own."""
    found = [problem for problem in diagnose(snapshot) if part.items() <= problem.params.items()]
    return _worst_first([*found, *_failures(failures, **part)])


def level_of(problems: Sequence[Problem]) -> str:
    """The worst of them; "ok" if there are none."""
    return problems[0].level if problems else "ok"


def queues_by_trouble(snapshot: Snapshot, problems: Iterable[Problem]) -> list[QueueSnapshot]:
    """The queues, those first that somebody should look at. Of equals the order stays."""
    troubled = {problem.params.get("queue", "") for problem in problems}

    def trouble(queue: QueueSnapshot) -> tuple[Any, ...]:
        waits = queue.oldest or 0.0
        return (
            queue.paused and queue.queued > 0,
            queue.name in troubled,
            waits if waits > NOTICED else 0.0,
            queue.failed,
            queue.paused,
        )

    return sorted(snapshot.queues, key=trouble, reverse=True)


def _worst_first(found: Iterable[Problem]) -> list[Problem]:
    """By their levels. In each many of one kind, as in forty queues, do not hide the others."""
    number, keyed = Counter[str](), []
    for problem in found:
        number[problem.code] += 1
        keyed.append((LEVELS.index(problem.level), number[problem.code] > ALIKE, problem))
    return [problem for *_, problem in sorted(keyed, key=lambda key: key[:2])]


def redis_problem(address: str, why: Reason) -> Problem:
    """Redis does not answer."""
    return Problem(Level.WARNING, "no-redis", {"address": address, "why": why})


def _mode(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.inline:
        command = to_type("bgworker", snapshot.backend)
        yield Problem(Level.INFO, "inline", target=Target("workers"), command=command)


def _workers(snapshot: Snapshot) -> Iterator[Problem]:
    waiting = snapshot.maintenance.overdue or snapshot.maintenance.orphans
    if not snapshot.alive and (waiting or not snapshot.inline):
        command = to_type("bgworker", snapshot.backend)
        yield Problem(Level.CRITICAL, "no-worker", target=Target("workers"), command=command)
    for worker in snapshot.workers:
        target = Target("worker", {"id": worker.id})
        values: dict[str, Any] = {"name": worker.name}
        if worker.health is WorkerHealth.LATE:
            values |= {"span": worker.seen}
            yield Problem(Level.WARNING, "late-worker", values, target)
        elif worker.health is WorkerHealth.LOST and not _is_replaced(worker, snapshot):
            values |= {"span": worker.seen}
            yield Problem(Level.WARNING, "lost-worker", values, target)
        elif worker.health is WorkerHealth.ALIVE and worker.trouble:
            values |= {"why": worker.trouble}
            yield Problem(Level.CRITICAL, "not-starting", values, target)


def _is_replaced(lost: WorkerSnapshot, snapshot: Snapshot) -> bool:
    """Whether a worker on the same host was started after this one was last heard of."""
    return any(
        worker.health is WorkerHealth.ALIVE
        and worker.hostname == lost.hostname
        and worker.started < lost.seen
        for worker in snapshot.workers
    )


def _redis(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.redis.problem:
        yield redis_problem(snapshot.redis.address, snapshot.redis.problem)
    if snapshot.redis.suspended:
        yield Problem(Level.WARNING, "suspended", command="rq resume")


def _maintenance(snapshot: Snapshot) -> Iterator[Problem]:
    maintenance = snapshot.maintenance
    if not snapshot.alive:
        return
    if maintenance.overdue:
        values = {"count": maintenance.overdue, "span": maintenance.delay}
        level = Level.CRITICAL if maintenance.delay > STALLED else Level.WARNING
        yield Problem(level, "overdue", values, Target("jobs", {"state": "scheduled"}))
    if maintenance.orphans:
        target = Target("jobs", {"state": "stuck"})
        yield Problem(Level.WARNING, "orphaned", {"count": maintenance.orphans}, target)


def _schedules(snapshot: Snapshot) -> Iterator[Problem]:
    for trouble in snapshot.schedules.troubles:
        values = asdict(trouble)
        code, values = values.pop("code"), {name: value for name, value in values.items() if value}
        # Of a site without a worker nothing can be in time; that it has none is said.
        if code == "late" and not (snapshot.alive or snapshot.inline):
            continue
        one = Target("schedule", {"id": trouble.id})
        command = to_type("bgschedules", snapshot.backend, "resume", trouble.name)
        yield Problem(
            _level_of_schedules(trouble, snapshot.schedules.count),
            f"schedule-{code}",
            values,
            one if trouble.count == 1 else Target("schedules", {"state": code}),
            command if code == "paused" else "",
        )


def _level_of_schedules(trouble: ScheduleTrouble, count: int) -> Level:
    """What a person has decided wakes nobody, nor do a few of many users' jobs that failed."""
    if trouble.code in ("paused", "undeclared"):
        return Level.INFO
    if trouble.code != "failing" or trouble.of_code:
        return Level.WARNING
    return _level_of_failures(trouble.count, count)


def _overrun(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.overrun:
        target = Target("jobs", {"state": "stuck"})
        yield Problem(Level.WARNING, "overrun", {"count": snapshot.overrun}, target)


def _unknown_backends(snapshot: Snapshot) -> Iterator[Problem]:
    for unknown in snapshot.unknown_backends:
        values = {"count": unknown.jobs, "backend": unknown.backend}
        command = f"python manage.py bgcancel --backend {quote(unknown.backend)}"
        target = Target("jobs", {"state": "held"})
        yield Problem(Level.WARNING, "unknown-backend", values, target, command)


def _held(snapshot: Snapshot) -> Iterator[Problem]:
    for jobs in snapshot.held:
        values = {"count": jobs.jobs, "task": jobs.task, "why": jobs.why}
        target = Target("jobs", {"state": "held", "task": jobs.task})
        # Others of this task may be healthy, or another backend's, whose cause may be another.
        task, backend = quote(jobs.task), quote(snapshot.backend)
        command = f"python manage.py bgcancel --held --task {task} --backend {backend}"
        yield Problem(Level.WARNING, "held", values, target, command)
    if snapshot.held_others:
        target = Target("jobs", {"state": "held"})
        yield Problem(Level.WARNING, "held-others", {"count": snapshot.held_others}, target)


def _waits(snapshot: Snapshot) -> Iterator[Problem]:
    """Sequences that wait for a person, and limits that let nothing run."""
    first = snapshot.waits.first_held
    if first is not None and first.seconds > LONG_WAIT:
        values = {
            "count": snapshot.waits.held_sequences,
            "key": first.key,
            "job": first.job,
            "task": first.task,
            "span": first.seconds,
        }
        command = f"python manage.py bgretry {first.job}"
        target = Target("job", {"id": first.job})
        if snapshot.waits.held_sequences > 1:
            target = Target("jobs", {"state": "holding"})
        yield Problem(Level.WARNING, "sequence-held", values, target, command)
    if closed := [lane for lane in snapshot.waits.lanes if lane.allowed == 0]:
        values = {"count": len(closed), "key": closed[0].key}
        target = Target("limits", {"q": closed[0].key} if len(closed) == 1 else {})
        yield Problem(Level.WARNING, "limit-closed", values, target)


def _batches(snapshot: Snapshot) -> Iterator[Problem]:
    """Workflows of which nothing moves: a problem for each reason, about the first of them."""
    for why in StuckWhy:
        found = [one for one in snapshot.batches.stuck if one.why is why]
        # Of a site without a worker nothing moves; that it has none is said.
        if not found or (why is not StuckWhy.JOB_HELD and not (snapshot.alive or snapshot.inline)):
            continue
        first = max(found, key=lambda one: one.waited)
        values = {"count": len(found), "name": first.name, "span": first.waited}
        values |= {name: value for name in OF_STUCK if (value := getattr(first, name))}
        target = Target("batch", {"id": first.id})
        if first.job and why is StuckWhy.JOB_HELD:
            target = Target("job", {"id": first.job})
        if len(found) > 1:
            target = Target("batches", {"state": "open"})
        command = _command_for(first, snapshot.backend)
        yield Problem(Level.WARNING, f"batch-{why}", values, target, command)


def _command_for(one: StuckBatch, backend: str) -> str:
    names = {StuckWhy.PAUSED: "bgresume", StuckWhy.UNSERVED: "bgworker"}
    return to_type(names[one.why], backend, one.queue) if one.why in names else ""


def _failures(window: FailureWindow, **part: str) -> Iterator[Problem]:
    """Jobs that have failed and were not retried, and those that wait for another attempt."""
    kinds = [group for group in window.groups if group.failed]
    if window.failed:
        query = {"state": "failed", "finished": window.period, **part}
        if len(kinds) == 1 and kinds[0].failed == window.failed:
            query |= {"task": kinds[0].task, "error": kinds[0].error}
        values: dict[str, Any] = {"count": window.failed, "span": window.seconds}
        level = _level_of_failures(window.failed, window.ended)
        yield Problem(level, "failed", values, Target("jobs", query))
    if retrying := sum(group.retrying for group in window.groups):
        level = _level_of_failures(retrying, window.ended)
        target = Target("jobs", {"state": "retrying", **part})
        yield Problem(level, "retrying", {"count": retrying}, target)


def _level_of_failures(count: int, ended: int) -> Level:
    is_notable = count >= SEVERAL and count >= NOTABLE * ended
    return Level.WARNING if is_notable else Level.INFO


def _queue(queue: QueueSnapshot, snapshot: Snapshot) -> Iterator[Problem]:
    target = Target("queue", {"name": queue.name})
    values: dict[str, Any] = {"queue": queue.name}
    if queue.paused:
        command = to_type("bgresume", snapshot.backend, queue.name)
        values |= {"count": queue.queued, "by": queue.paused_by}
        yield Problem(Level.WARNING, "paused", values, target, command)
    elif queue.queued and (snapshot.alive or snapshot.inline):
        yield from _backlog(queue, snapshot, target)
    share = queue.failure_share
    if share is not None and share >= MANY_FAIL and queue.ended >= ENOUGH:
        failed = Target("jobs", {"state": "failed", "queue": queue.name, "finished": "hour"})
        yield Problem(Level.WARNING, "failing", values | {"share": share}, failed)


def _backlog(queue: QueueSnapshot, snapshot: Snapshot, target: Target) -> Iterator[Problem]:
    served, oldest = bool(snapshot.serving(queue.name)), queue.oldest or 0
    values: dict[str, Any] = {"queue": queue.name}
    if oldest > UNSERVED and not served and not queue.is_declared:
        command = to_type("bgworker", snapshot.backend)
        yield Problem(Level.WARNING, "unknown-queue", values, target, command)
    elif oldest > UNSERVED and not served:
        command = to_type("bgworker", snapshot.backend, queue.name)
        yield Problem(Level.WARNING, "unserved", values, target, command)
    elif oldest > LONG_WAIT:
        yield Problem(Level.WARNING, "backlog", values | {"span": oldest}, target)
