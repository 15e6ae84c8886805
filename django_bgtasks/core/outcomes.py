"""What an attempt came to, and what to write for it: decided here, written by the ledger."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

from .errors import GiveUp, JobCancelled, JobTimeout, RetryLater
from .payload import clipped
from .retry import MAX_CRASHES, Retry
from .spans import span_of

NOW = timedelta(0)
# Seconds until an attempt that the database undid is made again; those that were in each other's
# way must not meet again.
SOON = (0.5, 1.5)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed, as its Attempt row tells it."""

    outcome: str
    exception_class: str = ""
    message: str = ""
    traceback: str = ""

    @property
    def line(self) -> str:
        """The class and the first line of the message."""
        name = self.exception_class.rpartition(".")[2] or self.outcome
        return clipped(f"{name}: {self.message}" if self.message else name)[:255]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One move out of `running`.

    delay: before the next attempt. charged: whether this attempt counts against max_attempts.
    """

    move: str
    delay: timedelta = NOW
    result: Any = None
    failure: Failure | None = None
    charged: bool = True
    note: str = ""

    def telling(self, edited: Callable[[str], str]) -> Outcome:
        """The same with the texts of its failure edited."""
        if self.failure is None:
            return self
        message, trace = edited(self.failure.message)[:255], edited(self.failure.traceback)
        return replace(self, failure=replace(self.failure, message=message, traceback=trace))


def released(note: str = "", delay: timedelta = NOW) -> Outcome:
    """Back to where it was, at no cost: the attempt had not begun or was interrupted."""
    return Outcome("later" if delay else "release", delay=delay, charged=False, note=note)


def raised(
    error: BaseException, attempt: int, max_attempts: int, retry: Retry, rng: Random
) -> Outcome:
    """What an exception of the task leads to."""
    if isinstance(error, RetryLater):
        try:
            return released(delay=span_of(error.delay, "RetryLater: the delay"))
        except (TypeError, ValueError) as wrong:
            # It was changed after it was made.
            error = wrong
    failure = failure_of(error)
    if isinstance(error, JobCancelled):
        return Outcome("stop", failure=failure)
    if isinstance(error, GiveUp) or attempt >= max_attempts or not retry.wants(error):
        return Outcome("fail", failure=failure)
    delay = retry.next_delay(attempt, rng)
    return Outcome("later" if delay else "again", delay=delay, failure=failure)


def crashed(
    failure: Failure, attempt: int, max_attempts: int, crashes: int, on_crash: str
) -> Outcome:
    """What a death of the worker leads to. crashes: earlier ones of this job."""
    if on_crash == "fail" or attempt >= max_attempts or crashes + 1 >= MAX_CRASHES:
        return Outcome("fail", failure=failure)
    return Outcome("again", failure=failure)


def interrupted(failure: Failure, on_crash: str) -> Outcome:
    """What a kill leads to that was not the job's fault: it was in the way of a stop, say."""
    return Outcome("fail", failure=failure) if on_crash == "fail" else released()


def undone(
    error: BaseException, attempt: int, max_attempts: int, on_crash: str, rng: Random
) -> Outcome:
    """What it leads to that the database undid an attempt: that is no exception of the task."""
    failure = failure_of(error)
    if on_crash == "fail" or attempt >= max_attempts:
        return Outcome("fail", failure=failure)
    return Outcome("later", delay=timedelta(seconds=rng.uniform(*SOON)), failure=failure)


def failure_of(error: BaseException) -> Failure:
    """Describe an exception, whatever its own methods do."""
    cls = type(error)
    outcome = "failed"
    if isinstance(error, JobTimeout):
        outcome = "timeout"
    elif isinstance(error, JobCancelled):
        outcome = "cancelled"
    path = f"{cls.__module__}.{cls.__qualname__}"
    return Failure(outcome, clipped(path)[:255], message_of(error), clipped(_traceback(error)))


def message_of(error: BaseException) -> str:
    """The first line of what it says, as any database stores it."""
    try:
        lines = clipped(str(error), 4096).strip().splitlines()
    except BaseException as broken:
        return f"<its __str__ raised {type(broken).__name__}>"
    return lines[0][:255] if lines else ""


def _traceback(error: BaseException) -> str:
    try:
        told = traceback.TracebackException.from_exception(error)
        _shorten(told)
        return "".join(told.format())
    except Exception as broken:
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"{frames}{type(error).__name__}: <not printable: {type(broken).__name__}>\n"


def _shorten(told: Any) -> None:
    """Clip the texts before they are formatted: Python takes seconds for megabytes of lines."""
    rest = [told]
    while rest:
        one = rest.pop()
        one._str = clipped(one._str)
        if one.__notes__:
            one.__notes__ = [clipped(str(note)) for note in one.__notes__]
        rest += filter(None, (one.__cause__, one.__context__, *(one.exceptions or ())))
