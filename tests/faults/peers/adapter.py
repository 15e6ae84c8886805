"""What the harness must know about a system: settings, worker, how to enqueue, what it says."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from importlib import import_module
from importlib.metadata import version
from typing import Any, ClassVar

# The adapter's name, for the processes of one system.
VARIABLE = "BGTASKS_PEER"
# As RQ's Retry(max=3): the first attempt and three more.
ATTEMPTS = 4


class State(StrEnum):
    """What a system shows of a job. GONE: nothing that a worker would ever look at."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    GONE = "gone"


class Adapter(ABC):
    """One system with one set of options. Keys name jobs in the effects log."""

    name: ClassVar[str]
    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    options: ClassVar[str]
    needs_redis: ClassVar[bool] = True

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}

    @abstractmethod
    def settings(self, redis_url: str) -> dict[str, Any]:
        """What the site's settings need besides those of every system."""

    @abstractmethod
    def command(self) -> list[str]:
        """The system's own worker command, one job at a time."""

    @abstractmethod
    def enqueue(self, key: str, nap: float = 0.0, gated: bool = False) -> None:
        """Enqueue the body in the way that is recommended within a transaction."""

    @abstractmethod
    def states(self, keys: Sequence[str]) -> dict[str, State]:
        """What the system shows of these jobs."""

    def reset(self) -> None:
        """Forget all jobs that are in the database."""
        self.ids.clear()

    @property
    def versions(self) -> str:
        """The versions of its packages."""
        return ", ".join(f"{package} {version(package)}" for package in self.packages)


def manage(*arguments: str) -> list[str]:
    """A management command, as `manage.py` would run it."""
    return [sys.executable, "-m", "django", *arguments]


# By the names that the command line takes. Imported by need: a package may not be installed.
PLACES = {
    "bgtasks": "on_bgtasks:Bgtasks",
    "rq": "on_rq:SeveralQueues",
    "rq_one_queue": "on_rq:OneQueue",
    "celery": "on_celery:AcksLate",
    "celery_reject": "on_celery:RejectOnWorkerLost",
    "celery_all": "on_celery:AllOptions",
    "django_tasks_db": "on_database:DatabaseTasks",
}


def adapter_of(name: str) -> Adapter:
    """The adapter with this name."""
    module, _, kind = PLACES[name].partition(":")
    made: Adapter = getattr(import_module(f"tests.faults.peers.{module}"), kind)()
    return made


def current() -> Adapter:
    """The adapter of this process's system."""
    return adapter_of(os.environ[VARIABLE])
