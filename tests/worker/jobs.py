"""Ask about jobs and wait for what becomes of them."""

from __future__ import annotations

from typing import Any

from django_bgtasks.models import Attempt, Job
from tests.waiting import wait_until


def row(result: Any) -> Job:
    """The job's row as it is now."""
    return Job.objects.get(pk=result.id)


def wait_for_state(result: Any, state: str, timeout: float = 15.0) -> Job:
    """Wait until the job is in this state; returns its row."""
    wait_until(lambda: row(result).state == state, timeout, f"job {result.id} is {state}")
    return row(result)


def outcomes(result: Any) -> list[str]:
    """The outcomes of the attempts that did not succeed."""
    return list(Attempt.objects.filter(job=result.id).values_list("outcome", flat=True))


def unfinished() -> int:
    """How many jobs are not final."""
    return Job.objects.all().live().count()
