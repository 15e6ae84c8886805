"""What the tests of django-tasks-db use of its tables and its command, on ours.

They look at its rows through a manager, and run its worker in the test's own process. Their counts
of statements are not looked at: they are those of its own implementation.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from types import ModuleType
from typing import Any

from django.db.models import QuerySet
from django.test import TransactionTestCase

from django_bgtasks.core.states import State
from django_bgtasks.ledger.lifecycle import ledger_database
from django_bgtasks.ledger.transitions import promote
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs


class Rows(QuerySet[Job]):
    """The rows of jobs, with the methods of its manager."""

    def ready(self) -> QuerySet[Job]:
        """Those that a worker would run now."""
        promote_due()
        return self.filter(state=State.QUEUED)

    def successful(self) -> QuerySet[Job]:
        """Those that succeeded."""
        return self.filter(state=State.SUCCEEDED)

    def failed(self) -> QuerySet[Job]:
        """Those that failed."""
        return self.filter(state=State.FAILED)


def promote_due() -> None:
    """Queue what is due now, though the clock of SQLite counts in milliseconds only."""
    time.sleep(0.005)
    promote(1000, ledger_database())


class Results:
    """In the place of its model."""

    objects = Rows(Job)


def run_worker(
    queue_name: str = "default", exclude_queues: str = "", backend_name: str = "default"
) -> None:
    """Run what its worker would run with these options."""
    promote_due()
    waiting = Job.objects.filter(state=State.QUEUED).values_list("queue", flat=True)
    queues = set(waiting) if queue_name == "*" else set(waiting) & set(queue_name.split(","))
    queues -= set(exclude_queues.split(","))
    if queues and backend_name == "default":
        run_jobs(sorted(queues))


def adapt(modules: list[Any]) -> None:
    """Put these in their place."""
    [module] = modules
    assert isinstance(module, ModuleType)
    names: Any = module
    names.DBTaskResult = Results
    names.DatabaseBackendWorkerTestCase.run_worker = staticmethod(run_worker)

    def uncounted(*args: Any, **options: Any) -> Any:
        return nullcontext()

    TransactionTestCase.assertNumQueries = uncounted  # type: ignore[method-assign]
