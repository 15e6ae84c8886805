"""Background tasks for Django: the database is the ledger, Redis is the engine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.errors import (
    BgTasksError,
    ClaimLost,
    DuplicateJob,
    EffectInProgress,
    EffectUnknown,
    FingerprintMismatch,
    GiveUp,
    IdempotencyError,
    InvalidArguments,
    InvalidMove,
    JobCancelled,
    JobTimeout,
    QueueFull,
    RetryLater,
    TaskNotFound,
)
from .core.retry import Retry
from .core.tasks import BackgroundTask, task
from .signals import job_deduplicated, job_rescued, job_retrying

if TYPE_CHECKING:
    from .flow.actions import cancel_job, get_job, retry_job, run_job_now
    from .flow.context import JobContext
    from .flow.current import current_job
    from .flow.once import once
    from .flow.results import JobResult
    from .views import accepted, idempotent, job_status, refuse_when_full, status_url

__version__ = "0.1.0"

# These need the models, which do not exist yet while Django imports the apps.
_LATER = {
    "JobContext": "flow.context",
    "JobResult": "flow.results",
    "accepted": "views",
    "cancel_job": "flow.actions",
    "current_job": "flow.current",
    "get_job": "flow.actions",
    "idempotent": "views",
    "job_status": "views",
    "once": "flow.once",
    "refuse_when_full": "views",
    "retry_job": "flow.actions",
    "run_job_now": "flow.actions",
    "status_url": "views",
}

__all__ = [
    "BackgroundTask",
    "BgTasksError",
    "ClaimLost",
    "DuplicateJob",
    "EffectInProgress",
    "EffectUnknown",
    "FingerprintMismatch",
    "GiveUp",
    "IdempotencyError",
    "InvalidArguments",
    "InvalidMove",
    "JobCancelled",
    "JobContext",
    "JobResult",
    "JobTimeout",
    "QueueFull",
    "Retry",
    "RetryLater",
    "TaskNotFound",
    "accepted",
    "cancel_job",
    "current_job",
    "get_job",
    "idempotent",
    "job_deduplicated",
    "job_rescued",
    "job_retrying",
    "job_status",
    "once",
    "refuse_when_full",
    "retry_job",
    "run_job_now",
    "status_url",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)
