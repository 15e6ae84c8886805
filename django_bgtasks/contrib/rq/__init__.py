"""django-rq's functions on this package: an app that uses django-rq moves by changing its imports.

    from django_bgtasks.contrib.rq import get_queue, job

`docs/moving.md` has what each option becomes, and what is refused.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...core.errors import JobTimeout as JobTimeoutException
from ...core.states import State
from ...transport.rq_names import (
    Callback,
    DuplicateJobError,
    InvalidJobOperation,
    JobStatus,
    NoSuchJobError,
    Retry,
)
from .calls import RqDependency as Dependency
from .calls import get_connection
from .decorator import rq_job as job
from .queue import RqQueue as Queue
from .queue import RqTestWorker as SimpleWorker
from .queue import enqueue_default as enqueue
from .queue import enqueue_default_at as enqueue_at
from .queue import enqueue_default_in as enqueue_in
from .queue import get_queue, get_queues, get_worker, registry_of
from .scheduler import RqScheduler as Scheduler
from .scheduler import get_scheduler

if TYPE_CHECKING:
    from .handle import RqJob as Job
    from .handle import cancel_rq_job as cancel_job
    from .handle import get_current_job, send_stop_job_command
    from .handle import requeue_rq_job as requeue_job

Worker = SimpleWorker
FailedJobRegistry = registry_of(State.FAILED)
FinishedJobRegistry = registry_of(State.SUCCEEDED)
StartedJobRegistry = registry_of(State.RUNNING)
ScheduledJobRegistry = registry_of(State.SCHEDULED)
DeferredJobRegistry = registry_of(State.BLOCKED)
CanceledJobRegistry = registry_of(State.CANCELLED)

# These need the models, which do not exist yet while Django imports the apps.
_LATER = {
    "Job": "RqJob",
    "cancel_job": "cancel_rq_job",
    "get_current_job": "get_current_job",
    "requeue_job": "requeue_rq_job",
    "send_stop_job_command": "send_stop_job_command",
}
_NO_EQUAL = {
    "Group": "rq.Group enqueues jobs together and finds them by its name. Write group() of "
    "django_bgtasks, whose handle has their progress and results.",
    "cron": "rq.cron registers functions with a scheduler of its own. Give the task a schedule: "
    '@task(schedule=Cron("0 6 * * *")), or get_scheduler().cron().',
    "Repeat": "rq.Repeat enqueues a job again and again. Give the task a schedule: "
    "@task(schedule=Every(minutes=10)), or set_schedule().",
    "Webhook": "rq.Webhook has no equal. Send the request in on_success or on_failure.",
}

__all__ = [
    "Callback",
    "CanceledJobRegistry",
    "DeferredJobRegistry",
    "Dependency",
    "DuplicateJobError",
    "FailedJobRegistry",
    "FinishedJobRegistry",
    "InvalidJobOperation",
    "Job",
    "JobStatus",
    "JobTimeoutException",
    "NoSuchJobError",
    "Queue",
    "Retry",
    "ScheduledJobRegistry",
    "Scheduler",
    "SimpleWorker",
    "StartedJobRegistry",
    "Worker",
    "cancel_job",
    "enqueue",
    "enqueue_at",
    "enqueue_in",
    "get_connection",
    "get_current_job",
    "get_queue",
    "get_queues",
    "get_scheduler",
    "get_worker",
    "job",
    "requeue_job",
    "send_stop_job_command",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(".handle", __name__), _LATER[name])
    if name in _NO_EQUAL:
        raise ImportError(
            f"django_bgtasks.contrib.rq has no {name}: {_NO_EQUAL[name]} See docs/moving.md."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
