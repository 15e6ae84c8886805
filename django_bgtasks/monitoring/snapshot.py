"""The figures of a backend at one moment: for the dashboard, for `bgstatus`, for monitoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ..core import clock
from ..core.options import backend_settings, known_backends, stored_backends
from ..core.states import WAITING, State
from ..jobs.task import queues_of
from ..ledger import queues
from ..ledger.identity import ledger_database
from ..models import AttemptOutcome
from ..transport import registry
from ..transport.connection import RedisError, connection, describe, reason
from ..transport.names import namespace_of
from ..transport.queues import is_suspended, lengths
from . import queries
from .figures import Child, Failures, Maintenance, Queue, Redis, Running, Status, Stranger, Worker

COUNTED = (State.QUEUED, State.SCHEDULED, State.RUNNING)
# By the using of a backend and the queue: how many, and the seconds since the first was due.
Cells = Mapping[tuple[str, str], tuple[int, float]]
RUNNING_SHOWN, ATTEMPTS_READ = 200, 500
FAILURES_SINCE, LOST_SINCE = timedelta(days=1), timedelta(hours=1)
RATE_MINUTES, SHARE_MINUTES = 5, 60
# Maintenance promotes a due job within a second.
OVERDUE_AFTER = 10.0


def status_of(backend: str, using: str | None = None) -> Status:
    """The figures of a backend now. It raises what the database raises, and outlives Redis."""
    using = using or ledger_database()
    found = {state: queries.depths(state, using) for state in COUNTED}
    depths = {state: _own(cells, backend) for state, cells in found.items()}
    ended = queries.ended_lately(backend, SHARE_MINUTES, using)
    paused = queues.paused(backend, using)
    names = queues_of(backend).union(paused, ended, *depths.values())
    redis, messages, children = _ask_redis(backend, sorted(names), using)
    workers = _workers(backend, children, using)
    beats = [worker.seen for worker in workers if worker.health != "lost"]
    return Status(
        backend=backend,
        at=clock.now(),
        queues=_queues(backend, names, depths, ended, paused, messages, using),
        workers=workers,
        running=_running(backend, using),
        failures=_failures(backend, using),
        maintenance=Maintenance(
            min(beats, default=None),
            *queries.overdue(OVERDUE_AFTER, backend, using),
            queries.orphans(backend, using),
        ),
        redis=redis,
        strangers=_strangers(found[State.QUEUED], found[State.SCHEDULED]),
    )


def _own(cells: Cells, backend: str) -> dict[str, tuple[int, float]]:
    """Those of a backend by their queues, whichever of its aliases they have."""
    own: dict[str, tuple[int, float]] = {}
    for (stored, queue), (number, oldest) in cells.items():
        if stored in stored_backends(backend):
            before = own.get(queue, (0, 0.0))
            own[queue] = before[0] + number, max(before[1], oldest)
    return own


def _strangers(*waiting: Cells) -> tuple[Stranger, ...]:
    jobs: Counter[str] = Counter()
    for cells in waiting:
        for (stored, _queue), (number, _oldest) in cells.items():
            if stored not in known_backends():
                jobs[stored] += number
    return tuple(Stranger(*pair) for pair in sorted(jobs.items()))


def _queues(
    backend: str,
    names: Any,
    depths: Any,
    ended: Any,
    paused: Any,
    messages: dict[str, int] | None,
    using: str,
) -> tuple[Queue, ...]:
    rates = queries.ended_lately(backend, RATE_MINUTES, using)
    queued, scheduled, running = depths.values()
    declared = backend_settings(backend).queues
    return tuple(
        Queue(
            name=name,
            queued=queued.get(name, (0, 0))[0],
            scheduled=scheduled.get(name, (0, 0))[0],
            running=running.get(name, (0, 0))[0],
            oldest=queued[name][1] if name in queued else None,
            **ended.get(name, {}),
            per_minute=rates.get(name, {}).get("ended", 0) / RATE_MINUTES,
            paused=name in paused,
            messages=None if messages is None else messages.get(name, 0),
            is_declared=not declared or name in declared,
        )
        for name in sorted(names, key=lambda name: (name != "default", name))
    )


def _running(backend: str, using: str) -> tuple[Running, ...]:
    return tuple(
        Running(
            str(job.pk),
            job.task,
            job.queue,
            job.attempt,
            job.max_attempts,
            max(0.0, job.seconds or 0.0),
            str(job.worker) if job.worker else None,
        )
        for job in queries.running(backend, RUNNING_SHOWN, using)
    )


def _workers(backend: str, children: dict[str, tuple[str, str]], using: str) -> tuple[Worker, ...]:
    return tuple(
        Worker(
            id=str(row.pk),
            hostname=row.hostname,
            pid=row.pid,
            processes=row.processes,
            queues=tuple(row.queues or ()),
            health=_health(row),
            seen=max(0.0, row.seen),
            started=max(0.0, row.started),
            processes_lost=row.processes_lost,
            children=tuple(_children_of(row, children)),
            trouble=row.trouble,
        )
        for row in queries.workers(backend, LOST_SINCE, using)
    )


def _health(row: Any) -> str:
    if row.lost_at:
        return "lost"
    return "alive" if row.seen <= row.dead_after else "late"


def _children_of(row: Any, children: dict[str, tuple[str, str]]) -> list[Child]:
    """Their names are made by the plan of their worker: host, process, the end of its id."""
    start, end = f"{row.hostname}.", f".{row.pk.hex[-8:]}"
    found = []
    for name, (state, job) in children.items():
        pid = name.removeprefix(start).removesuffix(end)
        if name.startswith(start) and name.endswith(end) and pid.isdecimal():
            found.append(Child(int(pid), state, job))
    return sorted(found, key=lambda child: child.pid)


def _failures(backend: str, using: str) -> tuple[Failures, ...]:
    groups: dict[Any, list[Any]] = {}
    for row in queries.failed_attempts(ATTEMPTS_READ, using):
        recent = row.seconds <= FAILURES_SINCE.total_seconds()
        if recent and row.backend in stored_backends(backend):
            exception = row.exception_class or AttemptOutcome(row.outcome).label
            groups.setdefault((row.task, row.queue, str(exception)), []).append(row)
    found = [
        Failures(
            task=task,
            queue=queue,
            exception=exception,
            count=len(rows),
            seconds=max(0.0, rows[0].seconds),
            job=str(rows[0].job_id),
            message=rows[0].message,
            code=rows[0].code,
            params=rows[0].params,
            retrying=len({row.job_id for row in rows if row.state in WAITING}),
        )
        for (task, queue, exception), rows in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: (-group.count, group.seconds)))


def _ask_redis(
    backend: str, queues: Sequence[str], using: str
) -> tuple[Redis, dict[str, int] | None, dict[str, tuple[str, str]]]:
    if not backend_settings(backend).options.dispatch:
        return Redis(used=False), None, {}
    address, redis, named = describe(backend), connection(backend), namespace_of(backend, using)
    try:
        suspended, waiting = is_suspended(redis), lengths(queues, named, redis)
        shown = registry.worker_states(named, redis)
        return Redis(address, suspended=suspended, name=named.name), waiting, shown
    except RedisError as error:
        return Redis(address, problem=reason(error), name=named.name), None, {}
