"""The figures of a backend at one moment, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ..core.messages import Reason


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue. oldest: seconds that the first of its queued jobs has waited.

    ended, failed: in the last hour. per_minute: what ended, over the last five minutes.
    messages: in Redis; None if that does not answer. is_declared: whether QUEUES has it, or names
    none.
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
    messages: int | None = None
    is_declared: bool = True

    @property
    def failure_share(self) -> float | None:
        """Of the jobs that ended in the last hour; None if none did."""
        return self.failed / self.ended if self.ended else None


@dataclass(frozen=True, slots=True)
class Running:
    """A job that runs. seconds: for how long. worker: the id of its worker's row."""

    id: str
    task: str
    queue: str
    attempt: int
    max_attempts: int
    seconds: float
    worker: str | None


@dataclass(frozen=True, slots=True)
class Child:
    """A job process as Redis shows it: idle, busy or suspended, and the id of its job."""

    pid: int
    state: str
    job: str


@dataclass(frozen=True, slots=True)
class Worker:
    """One `bgworker`. health: alive, late or lost. seen, started: seconds ago.

    children: empty also when Redis does not answer. trouble: why its job processes do not start.
    """

    id: str
    hostname: str
    pid: int
    processes: int
    queues: tuple[str, ...]
    health: str
    seen: float
    started: float
    processes_lost: int
    children: tuple[Child, ...]
    trouble: Reason | None = None

    @property
    def name(self) -> str:
        """Host and process."""
        return f"{self.hostname}:{self.pid}"


@dataclass(frozen=True, slots=True)
class Failures:
    """Attempts of a task that went wrong alike, since yesterday. seconds: since the last one.

    retrying: how many of their jobs wait for another attempt.
    """

    task: str
    queue: str
    exception: str
    count: int
    seconds: float
    job: str
    message: str
    retrying: int = 0
    code: str = ""
    params: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """The background tasks. beat: seconds since any worker's maintenance was heard of.

    overdue: scheduled jobs that are not queued though they are due, and delay: the longest, in
    seconds. orphans: jobs of workers that are gone.
    """

    beat: float | None
    overdue: int
    delay: float
    orphans: int


@dataclass(frozen=True, slots=True)
class Redis:
    """Redis. problem: why it does not answer. used: False if the settings do without it.

    name: how the names of this backend begin there.
    """

    address: str = ""
    used: bool = True
    problem: Reason | None = None
    suspended: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A backend that TASKS does not have, and how many jobs are held for it."""

    backend: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Status:
    """All of it. `at` is this host's time; every span was measured by the database's clock."""

    backend: str
    at: datetime
    queues: tuple[Queue, ...]
    workers: tuple[Worker, ...]
    running: tuple[Running, ...]
    failures: tuple[Failures, ...]
    maintenance: Maintenance
    redis: Redis
    strangers: tuple[Stranger, ...] = ()

    @property
    def alive(self) -> int:
        """How many workers live."""
        return sum(worker.health == "alive" for worker in self.workers)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        return {**asdict(self), "at": self.at.isoformat(), "alive": self.alive}


@dataclass(frozen=True, slots=True)
class Point:
    """What ended within `minutes` from `start` on, and how long it took, in seconds.

    waits, runs: the median and the 95th percentile; None of nothing.
    """

    start: datetime
    minutes: int
    succeeded: int
    failed: int
    cancelled: int
    waits: tuple[float | None, float | None]
    runs: tuple[float | None, float | None]

    @property
    def ended(self) -> int:
        """All of them."""
        return self.succeeded + self.failed + self.cancelled
