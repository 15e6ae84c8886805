"""Huey's functions on this package: an app that uses huey.contrib.djhuey moves by its imports.

    from django_bgtasks.contrib.huey import crontab, db_periodic_task, db_task

`docs/moving.md` has what each option becomes, and what is refused.
"""

from __future__ import annotations

from typing import Any

from ...core.errors import JobTimeout as TaskTimeout
from .app import HUEY, HueyApp
from .app import HueyInstance as RedisHuey
from .crontab import HueyCrontab as crontab  # noqa: N813 - it is what Huey calls it
from .exceptions import (
    CancelExecution,
    HueyException,
    ResultTimeout,
    RetryTask,
    TaskException,
    TaskLockedException,
)
from .locks import is_locked, lock_task, rate_limit
from .results import HueyResult as Result
from .results import HueyResultGroup as ResultGroup
from .signals import (
    SIGNAL_CANCELED,
    SIGNAL_COMPLETE,
    SIGNAL_ENQUEUED,
    SIGNAL_ERROR,
    SIGNAL_EXECUTING,
    SIGNAL_RETRYING,
    SIGNAL_SCHEDULED,
    SIGNAL_TIMEOUT,
    disconnect_signal,
    on_shutdown,
    on_startup,
    post_execute,
    pre_execute,
)
from .signals import connect_signal as signal
from .signatures import HueyChord as chord  # noqa: N813
from .signatures import HueyGroup as group  # noqa: N813

Huey = PriorityRedisHuey = RedisExpireHuey = PriorityRedisExpireHuey = RedisHuey
SqliteHuey = MemoryHuey = FileHuey = PostgresHuey = RedisHuey
task = db_task = HUEY.task
on_commit_task = HUEY.on_commit_task
periodic_task = db_periodic_task = HUEY.periodic_task
enqueue = HUEY.enqueue
result = HUEY.result
revoke = HUEY.revoke
revoke_by_id = HUEY.revoke_by_id
is_revoked = HUEY.is_revoked
scheduled = HUEY.scheduled
context_task = HUEY.context_task


def close_db(function: Any) -> Any:
    """The function itself: connections are looked after around each job."""
    return function


_NO_EQUAL = {
    **dict.fromkeys(
        ("flush_locks", "flush"),
        "no lock is left behind: it ends with the attempt that holds it.",
    ),
    "restore": "a job that was revoked has ended. retry_job() queues it again.",
    "restore_by_id": "a job that was revoked has ended. retry_job() queues it again.",
    "revoke_all": "no task is revoked as a whole. Pause its queue with bgpause, or its schedule "
    "with pause_schedule().",
    "restore_all": "no task is revoked as a whole. Resume its queue with bgresume, or its schedule "
    "with resume_schedule().",
    "SIGNAL_EXPIRED": "a job that has expired is cancelled, and never begins. The signal "
    "task_finished tells of it.",
    "SIGNAL_INTERRUPTED": "a job that was interrupted runs again by itself. The signal job_rescued "
    "tells of it.",
    "SIGNAL_LOCKED": "a lock of a task is a limit, and who waits for it does not begin.",
    "SIGNAL_RATE_LIMITED": "a rate is a limit, and who waits for it does not begin.",
    "SIGNAL_REVOKED": "a job that is revoked is cancelled at once. The signal task_finished tells "
    "of it.",
}

__all__ = [
    "HUEY",
    "SIGNAL_CANCELED",
    "SIGNAL_COMPLETE",
    "SIGNAL_ENQUEUED",
    "SIGNAL_ERROR",
    "SIGNAL_EXECUTING",
    "SIGNAL_RETRYING",
    "SIGNAL_SCHEDULED",
    "SIGNAL_TIMEOUT",
    "CancelExecution",
    "FileHuey",
    "Huey",
    "HueyApp",
    "HueyException",
    "MemoryHuey",
    "PostgresHuey",
    "PriorityRedisExpireHuey",
    "PriorityRedisHuey",
    "RedisExpireHuey",
    "RedisHuey",
    "Result",
    "ResultGroup",
    "ResultTimeout",
    "RetryTask",
    "SqliteHuey",
    "TaskException",
    "TaskLockedException",
    "TaskTimeout",
    "chord",
    "close_db",
    "context_task",
    "crontab",
    "db_periodic_task",
    "db_task",
    "disconnect_signal",
    "enqueue",
    "group",
    "is_locked",
    "is_revoked",
    "lock_task",
    "on_commit_task",
    "on_shutdown",
    "on_startup",
    "periodic_task",
    "post_execute",
    "pre_execute",
    "rate_limit",
    "result",
    "revoke",
    "revoke_by_id",
    "scheduled",
    "signal",
    "task",
]


def __getattr__(name: str) -> Any:
    if name in _NO_EQUAL:
        raise ImportError(
            f"django_bgtasks.contrib.huey has no {name}: {_NO_EQUAL[name]} See docs/moving.md."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
