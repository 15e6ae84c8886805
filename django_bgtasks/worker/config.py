"""What one `bgworker` was asked to do."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from uuid import UUID

from ..core import clock
from ..core.options import Options, backend_settings

# A batch is never larger: the shared state of a job process has an entry for each job it holds.
GROUP_SIZE = 100
# The most that the shared state has room for beside a batch, and the default for coroutines.
MOST_COROUTINES, MOST_THREADS, COROUTINES = 300, 100, 50
# Of how many coroutines in a job process each has a database connection of its own.
CONNECTIONS = 10


def _working_directory() -> str:
    """Its name; empty if it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The command line and the settings of a worker, fixed for one life of it.

    queues: in the order in which they are served; empty for all queues of the backend.
    max_jobs, max_memory: a job process is replaced after so many jobs, or above so many MiB.
    group_size: how many short jobs a job process claims together at most.
    async_concurrency: how many coroutines wait side by side in a job process.
    async_connections: how many of them may use the database at once.
    threads: how many other jobs run side by side in a job process; 1 for one after another.
    grace: seconds from the request to stop until what still runs is released.
    directory: in which the worker was started.
    options: those of the backend.
    """

    backend: str
    using: str
    queues: tuple[str, ...] = ()
    processes: int = 1
    burst: bool = False
    max_jobs: int | None = None
    max_memory: int | None = None
    group_size: int = GROUP_SIZE
    async_concurrency: int = COROUTINES
    async_connections: int = CONNECTIONS
    threads: int = 1
    grace: float = 25.0
    worker: UUID = field(default_factory=clock.new_id)
    hostname: str = field(default_factory=socket.gethostname)
    directory: str = field(default_factory=_working_directory)
    options: Options = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", backend_settings(self.backend).options)

    def process_name(self, pid: int) -> str:
        """The name under which the job process with this pid is registered as an RQ worker."""
        return f"{self.hostname}.{pid}{ending_of(self.worker)}"


def ending_of(worker: UUID) -> str:
    """How the names of all job processes of a worker end."""
    return f".{worker.hex[-8:]}"
