"""A backend at one moment, as plain data: what dashboard, commands and exporters read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from ..core import clock
from ..core.messages import Reason, message
from ..core.options import backend_settings, known_backends, stored_backends
from ..core.states import State
from ..jobs.task import queues_of
from ..ledger import queues
from ..ledger.lifecycle import ledger_database
from ..transport import registry
from ..transport.connection import RedisError, connection, describe, reason, uses_redis
from ..transport.messages import namespace_of
from ..transport.queues import is_suspended, lengths
from . import queries
from .batches import NO_BATCHES, BatchesSnapshot, Surface, take_batches
from .failures import FailureWindow, take_failures
from .health import WorkerHealth, worker_health, workers_of
from .schedules import NO_SCHEDULES, SchedulesSnapshot, take_schedules
from .waits import NOBODY_WAITS, WaitsSnapshot, take_waits

# By the stored name of a backend and the queue.
Depths = Mapping[tuple[str, str], queries.Depth]
RUNNING_LISTED, HELD_LISTED = 200, 10
LOST_SINCE = timedelta(hours=1)
RATE_MINUTES, SHARE_MINUTES = 5, 60
NOTHING: Mapping[Any, Any] = {}
NONE, NO_FAILURES = queries.Depth(), FailureWindow()
# Maintenance promotes a due job within a second.
OVERDUE_AFTER = 10.0
# A worker kills what goes on after its timeout within seconds.
OVERRUN_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """One queue. oldest: seconds that the first of its queued jobs has waited.

    ended, failed: in the last hour. per_minute: what ended, over the last five minutes.
    messages: in Redis; None if that does not answer. is_declared: whether QUEUES has it, or names
    none. paused_by: who has paused it, if that is known.
    """

    name: str
    queued: int = 0
    scheduled: int = 0
    running: int = 0
    oldest: float | None = None
    ended: int = 0
    failed: int = 0
    per_minute: float = 0.0
    paused: bool = False
    paused_by: str = ""
    messages: int | None = None
    is_declared: bool = True

    @property
    def failure_share(self) -> float | None:
        """Of the jobs that ended in the last hour; None if none did."""
        return self.failed / self.ended if self.ended else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in it, nothing ended in the last hour, and nobody has paused it."""
        counts = (self.queued, self.scheduled, self.running, self.ended)
        return not self.paused and not any(counts)


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that runs. seconds: for how long. worker: the id of its worker's row."""

    id: str
    task: str
    queue: str
    attempt: int
    max_attempts: int
    seconds: float
    worker: str | None
    label: str = ""


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """A job process as Redis shows it: idle, busy or suspended, and the id of its job."""

    pid: int
    state: str
    job: str


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One `bgworker`. processes: how many it has by its options. seen, started: seconds ago.

    queues: those of its command line, or all that it knew at its start if it `serves_all`.
    busy_queues: those of the jobs that it runs. job_processes: empty also when Redis does not
    answer. trouble: why they do not start.
    """

    id: str
    hostname: str
    pid: int
    processes: int
    queues: tuple[str, ...]
    health: WorkerHealth
    seen: float
    started: float
    processes_lost: int
    job_processes: tuple[ProcessSnapshot, ...] = ()
    trouble: Reason | None = None
    serves_all: bool = False
    busy_queues: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Host and process."""
        return f"{self.hostname}:{self.pid}"

    def serves(self, queue: str) -> bool:
        """Whether it lives, and takes the jobs of this queue: what it runs proves that too."""
        known = self.serves_all or queue in self.queues or queue in self.busy_queues
        return known and self.health is WorkerHealth.ALIVE


@dataclass(frozen=True, slots=True)
class HeldJobs:
    """Jobs of a task that wait for what keeps them from running, and why the newest does."""

    task: str
    jobs: int
    why: Reason


@dataclass(frozen=True, slots=True)
class MaintenanceSnapshot:
    """The background tasks. beat: seconds since any worker's maintenance was heard of.

    overdue: scheduled jobs that are not queued though they are due, and delay: the longest, in
    seconds. orphans: jobs of workers that are gone.
    """

    beat: float | None
    overdue: int
    delay: float
    orphans: int


@dataclass(frozen=True, slots=True)
class RedisSnapshot:
    """Redis. problem: why it does not answer. used: False for a site without Redis, of which note
    says what that means; it is no problem. name: how the names of this backend begin there.
    """

    address: str = ""
    used: bool = True
    problem: Reason | None = None
    suspended: bool = False
    name: str = ""
    note: Reason | None = None


WITHOUT_REDIS = RedisSnapshot(used=False, note=Reason("without_redis"))


@dataclass(frozen=True, slots=True)
class UnknownBackend:
    """A backend that TASKS does not have, and how many jobs are held for it."""

    backend: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it. `at` is this host's time; every duration was measured by the database's clock.

    inline: whether the mode of the backend is "inline": then workers have what is for later only.
    held: of the tasks with the most held jobs; held_others: the jobs of the other tasks. overrun:
    jobs that run though their timeout is over.
    """

    backend: str
    at: datetime
    workers: tuple[WorkerSnapshot, ...]
    maintenance: MaintenanceSnapshot
    queues: tuple[QueueSnapshot, ...] = ()
    running: tuple[RunningJob, ...] = ()
    held: tuple[HeldJobs, ...] = ()
    held_others: int = 0
    overrun: int = 0
    failures: FailureWindow = NO_FAILURES
    redis: RedisSnapshot = RedisSnapshot(used=False)
    unknown_backends: tuple[UnknownBackend, ...] = ()
    inline: bool = False
    schedules: SchedulesSnapshot = NO_SCHEDULES
    waits: WaitsSnapshot = NOBODY_WAITS
    batches: BatchesSnapshot = NO_BATCHES

    @property
    def alive(self) -> int:
        """How many workers live."""
        return sum(worker.health is WorkerHealth.ALIVE for worker in self.workers)

    def serving(self, queue: str) -> list[WorkerSnapshot]:
        """The workers that live and take the jobs of this queue."""
        return [worker for worker in self.workers if worker.serves(queue)]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        return {**asdict(self), "at": self.at.isoformat(), "alive": self.alive}


def take_snapshot(backend: str, using: str | None = None) -> Snapshot:
    """A backend as it is now. It raises what the database raises, and outlives Redis."""
    using = using or ledger_database()
    counts = {s: queries.depths(s, using) for s in (State.QUEUED, State.SCHEDULED, State.RUNNING)}
    depths = {state: _own(found, backend) for state, found in counts.items()}
    ended = queries.ended_lately(backend, SHARE_MINUTES, using)
    paused = queues.paused_by(backend, using)
    of_the_day = queries.queues_of_the_day(backend, using)
    names = queues_of(backend).union(paused, ended, of_the_day, *depths.values())
    redis, messages, processes = _ask_redis(backend, sorted(names), using)
    is_any_held = any(depth.held for own in depths.values() for depth in own.values())
    held_jobs, held_others = _held(backend, using) if is_any_held else ((), 0)
    found = replace(
        take_workers_snapshot(backend, using, processes, queries.busy_queues(backend, using)),
        queues=_queues(backend, names, depths, ended, paused, messages, using),
        running=_running(backend, using),
        held=held_jobs,
        held_others=held_others,
        overrun=queries.overrun_count(OVERRUN_AFTER, backend, using),
        failures=take_failures(backend, using),
        redis=redis,
        unknown_backends=_unknown_backends(counts[State.QUEUED], counts[State.SCHEDULED]),
        schedules=take_schedules(backend, using),
        waits=take_waits(using),
    )
    closed = {lane.key for lane in found.waits.lanes if lane.allowed == 0 or lane.held_by}
    surface = Surface(
        paused, lambda queue: found.inline or bool(found.serving(queue)), closed, is_any_held
    )
    return replace(found, batches=take_batches(backend, surface, using))


def take_workers_snapshot(
    backend: str,
    using: str,
    processes: Mapping[str, tuple[str, str]] = NOTHING,
    busy_queues: Mapping[UUID, Sequence[str]] = NOTHING,
) -> Snapshot:
    """Only its workers and maintenance, in three statements and without Redis: for probes."""
    rows = workers_of(backend, LOST_SINCE, using)
    workers = tuple(_worker(row, busy_queues.get(row.pk, ()), processes) for row in rows)
    beats = [worker.seen for worker in workers if worker.health is not WorkerHealth.LOST]
    overdue, delay = queries.overdue(OVERDUE_AFTER, backend, using)
    orphans = queries.orphan_count(backend, using)
    maintenance = MaintenanceSnapshot(min(beats, default=None), overdue, delay, orphans)
    inline = backend_settings(backend).options.is_inline
    return Snapshot(backend, clock.now(), workers, maintenance, inline=inline)


def queued_depths(backend: str, using: str) -> dict[str, queries.Depth]:
    """For each queue of a backend its queued jobs, in one statement and without Redis."""
    depths = _own(queries.depths(State.QUEUED, using), backend)
    return {queue: depths.get(queue, NONE) for queue in sorted(queues_of(backend).union(depths))}


def _own(depths: Depths, backend: str) -> dict[str, queries.Depth]:
    """Those of a backend by their queues, whichever of its names the rows have."""
    own: dict[str, queries.Depth] = {}
    for (stored, queue), depth in depths.items():
        if stored in stored_backends(backend):
            other = own.get(queue, queries.Depth())
            own[queue] = queries.Depth(
                other.number + depth.number,
                max(other.oldest, depth.oldest),
                other.held + depth.held,
            )
    return own


def _unknown_backends(*waiting: Depths) -> tuple[UnknownBackend, ...]:
    jobs: Counter[str] = Counter()
    for depths in waiting:
        for (stored, _queue), depth in depths.items():
            if stored not in known_backends():
                jobs[stored] += depth.number
    return tuple(UnknownBackend(*pair) for pair in sorted(jobs.items()))


def _queues(
    backend: str,
    names: Any,
    depths: Any,
    ended: Any,
    paused: Any,
    messages: dict[str, int] | None,
    using: str,
) -> tuple[QueueSnapshot, ...]:
    rates = queries.ended_lately(backend, RATE_MINUTES, using)
    queued, scheduled, running = depths.values()
    declared = backend_settings(backend).queues
    return tuple(
        QueueSnapshot(
            name=name,
            queued=queued.get(name, NONE).number,
            scheduled=scheduled.get(name, NONE).number,
            running=running.get(name, NONE).number,
            oldest=queued[name].oldest if name in queued else None,
            **ended.get(name, {}),
            per_minute=rates.get(name, {}).get("ended", 0) / RATE_MINUTES,
            paused=name in paused,
            paused_by=paused.get(name, ""),
            messages=None if messages is None else messages.get(name, 0),
            is_declared=not declared or name in declared,
        )
        for name in sorted(names, key=lambda name: (name != "default", name))
    )


def _running(backend: str, using: str) -> tuple[RunningJob, ...]:
    return tuple(
        RunningJob(
            str(job.pk),
            job.task,
            job.queue,
            job.attempt,
            job.max_attempts,
            max(0.0, job.seconds or 0.0),
            str(job.worker) if job.worker else None,
            job.label,
        )
        for job in queries.running_jobs(backend, RUNNING_LISTED, using)
    )


def _worker(
    row: Any, busy_queues: Sequence[str], processes: Mapping[str, tuple[str, str]]
) -> WorkerSnapshot:
    return WorkerSnapshot(
        id=str(row.pk),
        hostname=row.hostname,
        pid=row.pid,
        processes=row.processes,
        queues=tuple(row.queues or ()),
        health=worker_health(row),
        seen=max(0.0, row.seen),
        started=max(0.0, row.started),
        processes_lost=row.processes_lost,
        job_processes=tuple(_processes_of(row, processes)),
        trouble=row.trouble,
        serves_all=row.serves_all,
        busy_queues=tuple(busy_queues),
    )


def _processes_of(row: Any, processes: Mapping[str, tuple[str, str]]) -> list[ProcessSnapshot]:
    """Their worker makes their names: host, process, the end of the worker's id."""
    start, end = f"{row.hostname}.", f".{row.pk.hex[-8:]}"
    found = []
    for name, (state, job) in processes.items():
        pid = name.removeprefix(start).removesuffix(end)
        if name.startswith(start) and name.endswith(end) and pid.isdecimal():
            found.append(ProcessSnapshot(int(pid), state, job))
    return sorted(found, key=lambda process: process.pid)


def _held(backend: str, using: str) -> tuple[tuple[HeldJobs, ...], int]:
    """Those of the tasks with the most of them, and how many jobs others have."""
    counts = queries.held_jobs(backend, using)
    found = [
        HeldJobs(task, number, _why_held(job))
        for task, number in counts.most_common(HELD_LISTED)
        if (job := queries.held_job(task, backend, using)) is not None
    ]
    return tuple(found), counts.total() - sum(counts[jobs.task] for jobs in found)


def _why_held(job: Any) -> Reason:
    code, params = job.held_reason, job.error_params or {}
    return Reason(code, params) if message(code, params) else Reason("other", {"words": job.error})


def _ask_redis(
    backend: str, queues: Sequence[str], using: str
) -> tuple[RedisSnapshot, dict[str, int] | None, dict[str, tuple[str, str]]]:
    if not uses_redis(backend):
        return WITHOUT_REDIS, None, {}
    address, redis, names = describe(backend), connection(backend), namespace_of(backend, using)
    try:
        suspended, waiting = is_suspended(redis), lengths(queues, names, redis)
        processes = registry.worker_states(names, redis)
        return RedisSnapshot(address, suspended=suspended, name=names.name), waiting, processes
    except RedisError as error:
        return RedisSnapshot(address, problem=reason(error), name=names.name), None, {}
