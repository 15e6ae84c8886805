"""What an attempt leads to: decided here, from data alone; the ledger writes it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import Any

from .errors import BgTasksError, GiveUp, JobCancelled, JobTimeout, RetryLater
from .messages import Reason
from .payload import clipped
from .retry import MAX_CRASHES, Retry, exceptions
from .spans import span_of
from .states import FINAL, State, Transition

NOW = timedelta(0)
# Characters of what is stored: longer until it is redacted, for half a secret is not recognized.
STORED, UNREDACTED = 255, 4096
NO_ERROR = {"error": "", "error_code": "", "error_params": None, "held_reason": ""}
# Seconds until the next attempt after the database rolled one back. At random: transactions that
# were in each other's way must not meet again.
ROLLBACK_DELAY = (0.5, 1.5)


class DeathCause(StrEnum):
    """Why a job process ended, as far as one of the jobs that it held is concerned."""

    # Its task had not begun: it costs nothing.
    UNBEGUN = "unbegun"
    # The process was stopped or killed because of something else.
    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed, as its Attempt row has it. code: see `core.messages`."""

    outcome: str
    exception_class: str = ""
    message: str = ""
    traceback: str = ""
    code: str = "exception"
    params: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, outcome: str, reason: Reason) -> Failure:
        """One that nobody raised."""
        return cls(
            outcome, message=str(reason)[:UNREDACTED], code=reason.code, params=reason.params
        )

    def redacted(self, redact: Callable[[str], str]) -> Failure:
        """The same with `redact` applied to its texts, which are as short as they are stored."""
        params = self.params and {
            name: redact(str(value))[:STORED] for name, value in self.params.items()
        }
        message, trace = redact(self.message)[:STORED], redact(self.traceback)
        return replace(self, message=message, traceback=trace, params=params)

    @property
    def line(self) -> str:
        """The class and the first line of the message."""
        name = self.exception_class.rpartition(".")[2] or self.outcome
        return clipped(f"{name}: {self.message}" if self.message else name)[:STORED]


@dataclass(frozen=True, slots=True)
class Log:
    """The lines that an attempt has logged: each a time, a level, a logger and a text.

    left_out: how many lines there were before these.
    """

    lines: Sequence[list[str]]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a running job: a transition out of `running`, and what is written with it.

    delay: until the next attempt. charged: whether this attempt counts against max_attempts.
    hold: why the job could not be run here and now. log: what the attempt has logged, if that is
    kept. begun: whether the task may have begun: such a job does not expire any more.
    """

    transition: Transition
    delay: timedelta = NOW
    result: Any = None
    failure: Failure | None = None
    charged: bool = True
    hold: Reason | None = None
    log: Log | None = None
    begun: bool = True

    @property
    def state(self) -> State:
        """Where the job goes."""
        return self.transition.target

    @property
    def retries(self) -> bool:
        """Whether the attempt failed and another one follows."""
        return self.failure is not None and self.state not in FINAL

    def redacted(self, redact: Callable[[str], str]) -> Outcome:
        """The same with `redact` applied to the texts of its failure."""
        failure = self.failure
        return self if failure is None else replace(self, failure=failure.redacted(redact))

    @property
    def error_columns(self) -> dict[str, Any]:
        """What it leaves in the columns of the job that say what is wrong."""
        failure, hold = self.failure, self.hold
        if failure is not None:
            values: tuple[Any, ...] = failure.line, failure.code, failure.params, ""
        elif hold is not None:
            values = clipped(str(hold))[:STORED], hold.code, _stored(hold.params, STORED), hold.code
        else:
            return NO_ERROR
        return dict(zip(NO_ERROR, values, strict=True))


def outcome_of_release(
    hold: Reason | None = None, delay: timedelta = NOW, begun: bool = False
) -> Outcome:
    """The job waits again and the attempt is not counted: it had not begun or was interrupted."""
    transition = Transition.RETRY_AT if delay else Transition.RELEASE
    return Outcome(transition, delay=delay, charged=False, hold=hold, begun=begun)


def outcome_of_expiry() -> Outcome:
    """What becomes of a job that nobody has begun in time: there was no attempt."""
    failure = Failure.of("cancelled", Reason("expired"))
    return Outcome(Transition.EXPIRE, failure=failure, charged=False, begun=False)


def outcome_of_busy() -> Outcome:
    """What becomes of a job that is skipped while its limit is full: there was no attempt."""
    failure = Failure.of("cancelled", Reason("busy"))
    return Outcome(Transition.SKIP, failure=failure, charged=False, begun=False)


def outcome_of_gate(is_needed: bool) -> Outcome:
    """What becomes of a step that waits for what will not happen: there was no attempt.

    is_needed: not so of a callback for an end to which its batch has not come.
    """
    reason = Reason("gate_failed") if is_needed else Reason("gate_passed")
    failure = Failure.of("cancelled", reason)
    return Outcome(Transition.SKIP, failure=failure, charged=False, begun=False)


def outcome_of_exception(
    error: BaseException, attempt: int, max_attempts: int, retry: Retry, rng: Random
) -> Outcome:
    """What an exception of the task leads to."""
    delay: timedelta | None = None
    if isinstance(error, RetryLater):
        try:
            delay = span_of(error.delay, "RetryLater: the delay")
        except (TypeError, ValueError) as wrong:
            # It was changed after it was made.
            error = wrong
        else:
            if not error.counted:
                return outcome_of_release(delay=delay, begun=True)
    failure = failure_of(error)
    if isinstance(error, JobCancelled):
        return Outcome(Transition.CANCEL_RUNNING, failure=failure)
    is_last = isinstance(error, GiveUp) or attempt >= max_attempts
    if is_last or (delay is None and not (retry.on and retry.wants(error))):
        return Outcome(Transition.FAIL, failure=failure)
    delay = retry.next_delay(attempt, rng) if delay is None else delay
    transition = Transition.RETRY_AT if delay else Transition.RETRY_NOW
    return Outcome(transition, delay=delay, failure=failure)


def outcome_of_crash(
    failure: Failure, attempt: int, max_attempts: int, crashes: int, on_crash: str
) -> Outcome:
    """What the death of its process leads to. crashes: how many this job had before."""
    if on_crash == "fail" or attempt >= max_attempts or crashes + 1 >= MAX_CRASHES:
        return Outcome(Transition.FAIL, failure=failure)
    return Outcome(Transition.RETRY_NOW, failure=failure)


def outcome_of_interruption(failure: Failure, on_crash: str) -> Outcome:
    """What a kill leads to that was not the job's fault, as at a stop of the worker."""
    if on_crash == "fail":
        return Outcome(Transition.FAIL, failure=failure)
    return outcome_of_release(begun=True)


def outcome_of_rollback(
    error: BaseException, attempt: int, max_attempts: int, on_crash: str, rng: Random
) -> Outcome:
    """What a rollback by the database leads to: it is no exception of the task."""
    failure = failure_of(error)
    if on_crash == "fail" or attempt >= max_attempts:
        return Outcome(Transition.FAIL, failure=failure)
    delay = timedelta(seconds=rng.uniform(*ROLLBACK_DELAY))
    return Outcome(Transition.RETRY_AT, delay=delay, failure=failure)


def failure_of(error: BaseException) -> Failure:
    """Describe an exception, whatever its own methods do."""
    cls = type(error)
    outcome = "failed"
    if isinstance(error, JobTimeout):
        outcome = "timeout"
    elif isinstance(error, JobCancelled):
        outcome = "cancelled"
    path, message = clipped(_path_of(cls))[:STORED], _first_line(error)
    return Failure(outcome, path, message, clipped(_traceback(error)), *_code_of(error, message))


def is_expected(task: Any, failure: Failure | None, error: BaseException | None) -> bool:
    """Whether the task says that it may fail like this: then nobody needs to be alarmed.

    error: what the attempt raised; None if its process died, as after a timeout.
    """
    expected: Any = getattr(task, "expected", ())
    if not expected or failure is None:
        return False
    classes: tuple[type[BaseException], ...] = exceptions("expected", expected)
    if error is not None:
        return isinstance(error, classes)
    return failure.exception_class in map(_path_of, classes)


def _path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _code_of(error: BaseException, message: str) -> tuple[str, Mapping[str, Any] | None]:
    # Not by getattr(): others' exceptions have a `reason` of their own, which may be a property.
    reason = vars(error).get("reason") if isinstance(error, BgTasksError) else None
    if isinstance(reason, Reason):
        return reason.code, _stored(reason.params, UNREDACTED)
    if isinstance(error, GiveUp):
        return "give_up", {"words": message}
    return ("timeout" if isinstance(error, JobTimeout) else "exception"), None


def _stored(params: Mapping[str, Any] | None, limit: int) -> Mapping[str, Any] | None:
    """Parameters as any database stores them, each of at most `limit` characters."""
    if params is None:
        return None
    return {name: clipped(str(value))[:limit] for name, value in params.items()}


def message_of(error: BaseException) -> str:
    """The first line of what it says, as any database stores it."""
    return _first_line(error)[:STORED]


def _first_line(error: BaseException) -> str:
    try:
        lines = clipped(str(error), UNREDACTED).strip().splitlines()
    except BaseException as broken:
        return f"<its __str__ raised {type(broken).__name__}>"
    return lines[0] if lines else ""


def _traceback(error: BaseException) -> str:
    try:
        described = traceback.TracebackException.from_exception(error)
        _shorten(described)
        return "".join(described.format())
    except Exception as broken:
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"{frames}{type(error).__name__}: <not printable: {type(broken).__name__}>\n"


def _shorten(described: Any) -> None:
    """Clip the texts before they are formatted: Python takes seconds for megabytes of lines."""
    rest = [described]
    while rest:
        part = rest.pop()
        part._str = clipped(part._str)
        if part.__notes__:
            part.__notes__ = [clipped(str(note)) for note in part.__notes__]
        rest += filter(None, (part.__cause__, part.__context__, *(part.exceptions or ())))
