"""The exceptions of this package: one small tree.

BgTasksError
├── InvalidArguments (TypeError, ValueError)   the call cannot be stored
├── DuplicateJob                               another live job holds the dedup key
├── QueueFull                                  the queue has reached its max_depth
├── InvalidSchedule (ValueError)               no jobs can be enqueued at such times
├── BatchClosed                                nothing can be added to the batch any more
├── InvalidMove                                the job's state does not allow this
├── TaskNotFound                               the job's task is not importable here
├── Unreadable                                 a stored value needs a class that is not here
├── ClaimLost                                  the attempt belongs to someone else now
├── Interruption                               what stops a running task
│   ├── JobTimeout                             its time is up
│   └── JobCancelled                           somebody cancelled it
├── GiveUp                                     raised by a task: fail now, do not retry
│   └── ObjectGone                             a row that a stored value refers to is gone
├── RetryLater                                 raised by a task: run again after a delay
│   └── EffectInProgress                       another caller is performing this effect
└── IdempotencyError
    ├── FingerprintMismatch                    the key was used for another call
    └── EffectUnknown                          at_most_once: nobody knows whether it happened
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from .messages import Reason
from .spans import span_of


class BgTasksError(Exception):
    """Base of every exception of django_bgtasks.

    reason: the code and the parameters of its text, if that is one of `core.messages`.
    """

    reason: Reason | None = None

    @classmethod
    def of(cls, code: str, **params: Any) -> Self:
        """The error with the text of this code."""
        reason = Reason(code, params)
        error = cls(str(reason))
        error.reason = reason
        return error


class InvalidArguments(BgTasksError, TypeError, ValueError):
    """The arguments of a task cannot be stored as JSON within the caps, or the result is too large.

    A result that is not JSON at all is a plain TypeError.
    """


class DuplicateJob(BgTasksError):
    """Another live job holds the dedup key. `job_id` is that job's id."""

    def __init__(self, message: str, job_id: object = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class QueueFull(BgTasksError):
    """The queue holds `limit` waiting jobs; try again in `retry_after` seconds."""

    def __init__(self, queue: str, limit: int, retry_after: int = 30) -> None:
        super().__init__(
            f"Queue {queue!r} is full: it holds its max_depth of {limit} waiting jobs. "
            f"Nothing was enqueued. Try again in {retry_after} s, start more workers, "
            f"or raise OPTIONS['max_depth'] for this queue."
        )
        self.queue = queue
        self.limit = limit
        self.retry_after = retry_after


class InvalidSchedule(BgTasksError, ValueError):
    """A schedule has no times, or one of its policies is none. `reason` says it as a code."""


class BatchClosed(BgTasksError):
    """The batch is finished or cancelled, or is not the caller's: nothing can be added to it."""


class InvalidMove(BgTasksError):
    """The job's state does not allow the move that was asked for."""


class TaskNotFound(BgTasksError):
    """The dotted path of a job does not lead to a task."""


class Unreadable(BgTasksError):
    """A value that was stored with its type cannot be read here: a class, say, is gone."""


class ClaimLost(BgTasksError):
    """The claim no longer holds: whatever this attempt did must not be recorded."""


class Interruption(BgTasksError):
    """Raised inside a running task from outside of it."""


class JobTimeout(Interruption):
    """The attempt has used up its timeout."""


class JobCancelled(Interruption):
    """Somebody asked to cancel the running job."""


class GiveUp(BgTasksError):
    """Raise it in a task to fail the job now, without another attempt."""


class ObjectGone(GiveUp):
    """The row of a model instance that was passed by reference does not exist any more."""


class RetryLater(BgTasksError):
    """Raise it in a task to run the job again after `delay`; it costs no attempt.

    `delay` is in seconds, or a timedelta; ValueError if it is negative or longer than a century.
    counted: it costs an attempt, and after the last one the job fails.
    """

    delay = timedelta(seconds=60)
    counted = False

    def __init__(
        self, delay: float | timedelta = 60, message: str = "", *, counted: bool = False
    ) -> None:
        self.delay, self.counted = span_of(delay, "RetryLater: the delay"), counted
        super().__init__(message or f"again in {self.delay.total_seconds():g} s")


class EffectInProgress(RetryLater):
    """Another caller is performing the effect of this idempotency key right now."""


class IdempotencyError(BgTasksError):
    """Base of the errors of the idempotency log."""


class FingerprintMismatch(IdempotencyError):
    """The idempotency key was used before, for other arguments."""


class EffectUnknown(IdempotencyError):
    """An `at_most_once` effect was begun and its outcome was never recorded."""
