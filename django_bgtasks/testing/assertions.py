"""Assertions about what was enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import InvalidArguments
from ..core.payload import json_value
from ..core.values import COPIED_BY
from ..ledger.lifecycle import ledger_database
from ..models import Job


def enqueued(task: Any) -> list[Job]:
    """The jobs of this task, oldest first, whatever their state."""
    return list(Job.objects.using(ledger_database()).filter(task=task.module_path).order_by("id"))


def assert_enqueued(
    task: Any, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
) -> Job:
    """Assert that a job of this task was enqueued with these arguments; return the latest.

    args, kwargs: compared as the job keeps them, as JSON or with types; None for any.
    """
    jobs = enqueued(task)
    for job in reversed(jobs):
        if _same(job.args, args, list, job) and _same(job.kwargs, kwargs, dict, job):
            return job
    calls = "".join(f"\n  args={job.args!r} kwargs={job.kwargs!r}" for job in jobs)
    raise AssertionError(
        f"{task.module_path} was not enqueued with args={args!r} kwargs={kwargs!r}. "
        f"Its jobs are:{calls or ' none'}"
    )


def assert_not_enqueued(task: Any) -> None:
    """Assert that there is no job of this task."""
    jobs = enqueued(task)
    if jobs:
        raise AssertionError(f"{task.module_path} was enqueued {len(jobs)} times.")


def _same(stored: Any, value: Any, kind: type, job: Job) -> bool:
    what = "the expected arguments"
    return value is None or stored == json_value(
        kind(value), what, "assert", InvalidArguments, COPIED_BY.get(job.types)
    )
