"""Which attempt runs here, for whoever needs its job: jobs/context.py makes more of it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# The `Run` of jobs/execute.py whose task runs in this context of variables.
running: ContextVar[Any] = ContextVar("bgtasks_running", default=None)
# The job that signals and middleware are told about here.
announced: ContextVar[Any] = ContextVar("bgtasks_announced", default=None)
# Whether this process is one of a bgworker; a fork inherits it.
_of_worker = [False]


def job_at_hand() -> Any:
    """The row of the job that runs here, or that others are told about; None if there is none."""
    run = running.get()
    return announced.get() or (run.job if run is not None else None)


def become_worker() -> None:
    """Note that this process, and those that it forks, are a bgworker's."""
    _of_worker[:] = [True]


def is_worker() -> bool:
    """Whether this process is one of a bgworker."""
    return _of_worker[0]
