"""Which job runs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..jobs.context import JobContext

_current: ContextVar[JobContext | None] = ContextVar("bgtasks_current_job", default=None)


def current_job() -> JobContext | None:
    """The context of the job that runs here, or None outside of one."""
    return _current.get()


def enter(context: JobContext) -> None:
    """From here on, in this context of variables, `context` is the job that runs."""
    _current.set(context)


@contextmanager
def entered(context: JobContext) -> Iterator[None]:
    """Within it, `context` is the job that runs here."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
