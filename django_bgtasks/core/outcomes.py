"""What an attempt came to, and what to write for it: decided here, written by the ledger."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

from .errors import GiveUp, JobCancelled, JobTimeout, RetryLater
from .messages import Reason
from .payload import clipped
from .retry import MAX_CRASHES, Retry
from .spans import span_of

NOW = timedelta(0)
NO_ERROR = {"error": "", "error_code": "", "error_params": None, "held_reason": ""}
# Seconds until an attempt that the database undid is made again; those that were in each other's
# way must not meet again.
SOON = (0.5, 1.5)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed, as its Attempt row tells it. code: see `core.messages`."""

    outcome: str
    exception_class: str = ""
    message: str = ""
    traceback: str = ""
    code: str = "exception"
    params: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, outcome: str, reason: Reason) -> Failure:
        """One that nobody raised."""
        return cls(outcome, message=str(reason)[:255], code=reason.code, params=reason.params)

    @property
    def line(self) -> str:
        """The class and the first line of the message."""
        name = self.exception_class.rpartition(".")[2] or self.outcome
        return clipped(f"{name}: {self.message}" if self.message else name)[:255]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One move out of `running`.

    delay: before the next attempt. charged: whether this attempt counts against max_attempts.
    held_by: why the job could not be run here and now.
    """

    move: str
    delay: timedelta = NOW
    result: Any = None
    failure: Failure | None = None
    charged: bool = True
    held_by: Reason | None = None

    def telling(self, edited: Callable[[str], str]) -> Outcome:
        """The same with the texts of its failure edited."""
        if self.failure is None:
            return self
        message, trace = edited(self.failure.message)[:255], edited(self.failure.traceback)
        params = _stored(self.failure.params, edited)
        failure = replace(self.failure, message=message, traceback=trace, params=params)
        return replace(self, failure=failure)

    @property
    def error_columns(self) -> dict[str, Any]:
        """What it leaves in the columns of the job that say what is wrong."""
        failure, held_by = self.failure, self.held_by
        if failure is not None:
            line, code, params = failure.line, failure.code, failure.params
        elif held_by is not None:
            line, code, params = clipped(str(held_by))[:255], held_by.code, _stored(held_by.params)
        else:
            return NO_ERROR
        held_reason = held_by.code if held_by else ""
        return {
            "error": line, "error_code": code, "error_params": params, "held_reason": held_reason,
        }  # fmt: skip


def released(held_by: Reason | None = None, delay: timedelta = NOW) -> Outcome:
    """Back to where it was, at no cost: the attempt had not begun or was interrupted."""
    return Outcome("later" if delay else "release", delay=delay, charged=False, held_by=held_by)


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
    message, trace = message_of(error), clipped(_traceback(error))
    return Failure(outcome, clipped(path)[:255], message, trace, *_code_of(error, message))


def _code_of(error: BaseException, message: str) -> tuple[str, Mapping[str, Any] | None]:
    reason = getattr(error, "reason", None)
    # Others' exceptions have a `reason` of their own.
    if isinstance(reason, Reason):
        return reason.code, _stored(reason.params)
    if isinstance(error, GiveUp):
        return "give_up", {"words": message}
    return ("timeout" if isinstance(error, JobTimeout) else "exception"), None


def _stored(
    params: Mapping[str, Any] | None, edited: Callable[[str], str] = str
) -> Mapping[str, Any] | None:
    """Parameters as any database stores them, and as short as a line."""
    if params is None:
        return None
    return {name: edited(clipped(str(value)))[:255] for name, value in params.items()}


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
