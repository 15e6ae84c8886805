"""Background tasks for Django: the database is the ledger, Redis is the engine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.errors import (
    BatchClosed,
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
    InvalidSchedule,
    JobCancelled,
    JobTimeout,
    ObjectGone,
    QueueFull,
    RetryLater,
    TaskNotFound,
    Unreadable,
)
from .core.limits import Limit, Rate
from .core.outcomes import Outcome
from .core.retry import Retry
from .core.tags import RESULT, RESULTS
from .core.timing import Cron, Every
from .jobs.carried import Carried
from .jobs.middleware import Middleware, add_middleware, remove_middleware
from .jobs.task import BackgroundTask, task
from .signals import (
    job_deduplicated,
    job_rescued,
    job_retrying,
    process_started,
    process_stopping,
)

if TYPE_CHECKING:
    from .http import accepted, job_status, refuse_when_full, status_url
    from .idempotency.once import once
    from .idempotency.view import idempotent
    from .jobs.actions import (
        cancel_job,
        get_job,
        release_sequence,
        retry_job,
        run_job_anyway,
        run_job_now,
    )
    from .jobs.context import JobContext, current_job
    from .jobs.results import JobResult
    from .limits.actions import reset_limit, set_limit
    from .monitoring.status import is_served, oldest_age, queue_depths, workers
    from .schedules.actions import (
        pause_schedule,
        remove_schedule,
        resume_schedule,
        set_schedule,
    )
    from .workflows.actions import cancel_batch, retry_batch
    from .workflows.flow import Workflow, batch, chain, group
    from .workflows.handle import BatchHandle, get_batch

__version__ = "0.1.0"

# These need the models, which do not exist yet while Django imports the apps.
_LATER = {
    "BatchHandle": "workflows.handle",
    "JobContext": "jobs.context",
    "JobResult": "jobs.results",
    "Workflow": "workflows.flow",
    "accepted": "http",
    "batch": "workflows.flow",
    "cancel_batch": "workflows.actions",
    "cancel_job": "jobs.actions",
    "chain": "workflows.flow",
    "current_job": "jobs.context",
    "get_batch": "workflows.handle",
    "get_job": "jobs.actions",
    "group": "workflows.flow",
    "idempotent": "idempotency.view",
    "is_served": "monitoring.status",
    "job_status": "http",
    "oldest_age": "monitoring.status",
    "once": "idempotency.once",
    "pause_schedule": "schedules.actions",
    "queue_depths": "monitoring.status",
    "refuse_when_full": "http",
    "release_sequence": "jobs.actions",
    "remove_schedule": "schedules.actions",
    "reset_limit": "limits.actions",
    "resume_schedule": "schedules.actions",
    "retry_batch": "workflows.actions",
    "retry_job": "jobs.actions",
    "run_job_anyway": "jobs.actions",
    "run_job_now": "jobs.actions",
    "set_limit": "limits.actions",
    "set_schedule": "schedules.actions",
    "status_url": "http",
    "workers": "monitoring.status",
}

__all__ = [
    "RESULT",
    "RESULTS",
    "BackgroundTask",
    "BatchClosed",
    "BatchHandle",
    "BgTasksError",
    "Carried",
    "ClaimLost",
    "Cron",
    "DuplicateJob",
    "EffectInProgress",
    "EffectUnknown",
    "Every",
    "FingerprintMismatch",
    "GiveUp",
    "IdempotencyError",
    "InvalidArguments",
    "InvalidMove",
    "InvalidSchedule",
    "JobCancelled",
    "JobContext",
    "JobResult",
    "JobTimeout",
    "Limit",
    "Middleware",
    "ObjectGone",
    "Outcome",
    "QueueFull",
    "Rate",
    "Retry",
    "RetryLater",
    "TaskNotFound",
    "Unreadable",
    "Workflow",
    "accepted",
    "add_middleware",
    "batch",
    "cancel_batch",
    "cancel_job",
    "chain",
    "current_job",
    "get_batch",
    "get_job",
    "group",
    "idempotent",
    "is_served",
    "job_deduplicated",
    "job_rescued",
    "job_retrying",
    "job_status",
    "oldest_age",
    "once",
    "pause_schedule",
    "process_started",
    "process_stopping",
    "queue_depths",
    "refuse_when_full",
    "release_sequence",
    "remove_middleware",
    "remove_schedule",
    "reset_limit",
    "resume_schedule",
    "retry_batch",
    "retry_job",
    "run_job_anyway",
    "run_job_now",
    "set_limit",
    "set_schedule",
    "status_url",
    "task",
    "workers",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)
