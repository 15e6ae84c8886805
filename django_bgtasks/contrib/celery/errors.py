"""The exceptions that stand for those of Celery; exceptions.py has them under Celery's names."""

from __future__ import annotations

import builtins
from datetime import datetime
from typing import Any

from ...core import clock
from ...core.compat import InvalidTask
from ...core.errors import BgTasksError, GiveUp, JobCancelled, RetryLater
from ...core.spans import span_of

SEE = "See docs/moving.md."


class CeleryError(Exception):
    """Base of what tasks raise."""


class TaskPredicate(CeleryError):
    """Base of what says how a task goes on."""


class TaskError(CeleryError):
    """Base of what is wrong with a task."""


class CeleryRetry(TaskPredicate, RetryLater):
    """The task runs again: self.retry() raises it.

    exc: why. when: seconds from now, or a time.
    """

    counted = True

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
        **kwargs: Any,
    ) -> None:
        seconds = when or 0.0
        if isinstance(seconds, datetime):
            seconds = (clock.in_utc(seconds) - clock.now()).total_seconds()
        self.exc = exc if isinstance(exc, BaseException) else None
        self.excs = exc if isinstance(exc, str) else repr(exc) if exc else None
        self.when, self.is_eager, self.sig = when, is_eager, sig
        text = message or ": ".join(filter(None, (f"Retry {self.humanize()}", self.excs)))
        RetryLater.__init__(self, max(0.0, seconds), text, counted=True)
        self.message = message

    def humanize(self) -> str:
        """When it runs again."""
        return f"at {self.when}" if isinstance(self.when, datetime) else f"in {self.when}s"


class Ignore(TaskPredicate, JobCancelled):
    """The task ends without a result: its job is cancelled."""


class Reject(TaskPredicate, RetryLater):
    """The task is not done here: it is cancelled, or with requeue=True it waits again at once."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        RetryLater.__init__(self, 1.0, f"reject requeue={requeue}: {reason}")
        self.requeue = requeue

    def after(self, seconds: float) -> Reject:
        """The same, to wait for so many seconds."""
        self.delay = span_of(seconds, "Reject")
        return self


class StateFailure(GiveUp):
    """A task has set a state of failure by itself, and ended by raising Ignore."""

    def __init__(self, state: str, meta: Any) -> None:
        text = meta.get("exc_message") if isinstance(meta, dict) else None
        super().__init__(str(text or f"{state}: {meta!r}"))


class MaxRetriesExceededError(TaskError):
    """The task has been retried as often as it may."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args = kwargs.pop("task_args", [])
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class ResultTimeoutError(TaskError, builtins.TimeoutError):
    """A result was not there in time."""


class TaskRevokedError(TaskError):
    """The task was revoked, so it has no result."""


class NotRegistered(KeyError, TaskError):
    """No task has this name."""

    def __str__(self) -> str:
        return (
            f"No task is registered as {self.args[0]!r}. Import its module, or name the module in "
            f"OPTIONS['modules'] of TASKS. {SEE}"
        )


class QueueNotFound(KeyError, TaskError):
    """A task names a queue that is none."""


class InvalidTaskError(TaskError):
    """A message is no task."""


class AlreadyRegistered(TaskError):
    """Another task has this name."""


class IncompleteStream(TaskError):
    """Not all results are there."""


class ChordError(TaskError):
    """A task of the header of a chord has failed."""


class CeleryMisconfigured(CeleryError):
    """The app is configured in a way that cannot work."""


class SecurityError(CeleryError):
    """Something is not as safe as it must be."""


class WorkerLostError(Exception):
    """The process in which a task ran has died."""


class Terminated(Exception):
    """The process in which a task ran was stopped."""


class OperationalError(Exception):
    """The broker is away: here that raises nothing, for the job is stored."""


class NoEqual(BgTasksError, TypeError, ValueError):
    """What Celery has and django_bgtasks has not; the text says what to write."""


def refuse_call(name: str, text: str) -> NoEqual:
    """The error for an argument of a call that is refused."""
    return NoEqual(f"{name}: {text} {SEE}")


def refuse_task(name: str, text: str) -> InvalidTask:
    """The error for an option of a task that is refused."""
    return InvalidTask(f"{name}: {text} {SEE}")
