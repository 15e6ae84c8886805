"""What a task with atomic=True has given to transaction.on_commit(): it runs after its success."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import connections

from ..core.payload import printable
from ..models import Job

logger = logging.getLogger("django_bgtasks")


def log_failures_after_commit(job: Job, using: str) -> None:
    """Let what runs after the commit raise into the log: the job has succeeded by then.

    So all of it runs. Within somebody's transaction, as a test's, it is left to that one.
    """
    connection: Any = connections[using]
    if len(connection.atomic_blocks) == 1:
        hooks = connection.run_on_commit
        connection.run_on_commit = [(ids, _logging(hook, job), True) for ids, hook, _ in hooks]


def _logging(hook: Callable[[], object], job: Job) -> Callable[[], None]:
    def run() -> None:
        try:
            hook()
        except BaseException:
            logger.exception(
                "A function that job %s (%s) gave to transaction.on_commit() raised. The job has "
                "succeeded: its transaction was committed before.",
                job.pk,
                printable(job.task),
            )

    return run
