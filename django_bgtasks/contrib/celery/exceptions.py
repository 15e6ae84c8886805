"""What modules take from `celery.exceptions`.

A time limit raises JobTimeout here, which is SoftTimeLimitExceeded under its name of before. Where
ROUTES let Celery run some tasks still, these are Celery's own classes, which ours are too.
"""

from __future__ import annotations

from typing import Any

from ...core.errors import JobTimeout
from . import errors
from .mixed import celery_name

OWN = {
    "AlreadyRegistered": errors.AlreadyRegistered,
    "CeleryError": errors.CeleryError,
    "ChordError": errors.ChordError,
    "Ignore": errors.Ignore,
    "ImproperlyConfigured": errors.CeleryMisconfigured,
    "IncompleteStream": errors.IncompleteStream,
    "InvalidTaskError": errors.InvalidTaskError,
    "MaxRetriesExceededError": errors.MaxRetriesExceededError,
    "NotRegistered": errors.NotRegistered,
    "OperationalError": errors.OperationalError,
    "QueueNotFound": errors.QueueNotFound,
    "Reject": errors.Reject,
    "Retry": errors.CeleryRetry,
    "RetryTaskError": errors.CeleryRetry,
    "SecurityError": errors.SecurityError,
    "SoftTimeLimitExceeded": JobTimeout,
    "TaskError": errors.TaskError,
    "TaskPredicate": errors.TaskPredicate,
    "TaskRevokedError": errors.TaskRevokedError,
    "Terminated": errors.Terminated,
    "TimeLimitExceeded": JobTimeout,
    "TimeoutError": errors.ResultTimeoutError,
    "WorkerLostError": errors.WorkerLostError,
}

__all__ = list(OWN)


def __getattr__(name: str) -> Any:
    if name not in OWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return celery_name("celery.exceptions", name, OWN[name])
