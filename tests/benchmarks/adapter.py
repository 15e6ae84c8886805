"""This project in the harness that runs it beside its peers; see README.md for the command."""

from __future__ import annotations

from typing import Any

from adapters import Adapter, manage, redis_url


class BGTasks(Adapter):  # type: ignore[misc]
    """Default settings, with the options of `bgworker` that the name says."""

    apps = ("django_bgtasks", "tests.benchmarks.noop")
    group = "db-record"
    uses_postgres = True
    record = "job row from enqueue on"
    options: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Where Redis is; the rest is as it comes."""
        options = {"redis_url": redis_url()}
        backend = "django_bgtasks.backend.RQBackend"
        return {"TASKS": {"default": {"BACKEND": backend, "QUEUES": [], "OPTIONS": options}}}

    def setup(self) -> None:
        """In the producer."""
        from .noop.tasks import noop

        self.noop = noop

    def enqueue(self, number: int) -> None:
        """One call."""
        self.noop.enqueue(number)

    def enqueue_bulk(self, numbers: list[int]) -> None:
        """Many calls at once."""
        self.noop.enqueue_many([(number,) for number in numbers])

    def worker_commands(self, processes: int) -> list[list[str]]:
        """One worker with so many job processes."""
        return [manage("bgworker", "--processes", str(processes), *self.options)]

    def records(self) -> int:
        """How many jobs have succeeded."""
        from django_bgtasks.models import Job

        return Job.objects.filter(state="succeeded").count()


ADAPTERS = [
    BGTasks(name="bgtasks", title="django_bgtasks", n=20_000, n2=30_000),
    BGTasks(
        name="bgtasks_single",
        title="django_bgtasks --group-size 1",
        options=("--group-size", "1"),
        n=4000,
        n2=6000,
    ),
]
