"""Which attempt runs here, for whoever needs its job: jobs/context.py makes more of it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# The `Run` of jobs/execute.py whose task runs in this context of variables.
running: ContextVar[Any] = ContextVar("bgtasks_running", default=None)
