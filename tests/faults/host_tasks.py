"""The tasks of the two hosts: atomic ones that stop in the middle, with a lock or without."""

from __future__ import annotations

from django_bgtasks import JobContext, current_job, task
from tests.app.models import Note

from . import tasks
from .effects import note

SHARED = "a row that many jobs change"


def context() -> JobContext:
    """The running job's."""
    found = current_job()
    assert found is not None
    return found


def wait() -> int:
    """Say that the job began, and wait at the gate; the number of the claim."""
    claim: int = tasks.wait_at_gate.func()
    return claim


@task(retry=tasks.AT_ONCE, atomic=True)
def atomic() -> int:
    """Its effect is a row, written before it waits at the gate."""
    Note.objects.create(text=str(context().job_id))
    return wait()


@task(retry=tasks.AT_ONCE, atomic=True)
def reporting() -> int:
    """Reports its progress in its transaction, and so locks its own row in the ledger."""
    context().progress(1, 2, "half")
    note("locked", str(context().job_id))
    return wait()


@task(retry=tasks.AT_ONCE, atomic=True)
def locking() -> int:
    """Changes a row that others change too, and waits at the gate with the lock in its hands."""
    Note.objects.filter(text=SHARED).update(text=SHARED)
    note("locked", str(context().job_id))
    return wait()
