"""The task that all systems of the comparison run: it says that it ran, and nothing else."""

from __future__ import annotations

from recorder import record

from django_bgtasks import task


@task
def noop(number: int) -> None:
    record(number)
