"""What people do to a job, from the admin, a view or a command."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from ..core.options import backend_settings, default_backend
from ..core.states import State
from ..ledger import prune, queues, transitions
from ..ledger.lifecycle import ledger_database
from ..models import Job, QueuePause
from .enqueue import dispatch_on_commit


def get_job(job_id: UUID | str, using: str | None = None) -> Job:
    """The row of a job; Job.DoesNotExist if there is none."""
    return Job.objects.using(using or ledger_database()).get(pk=job_id)


def retry_job(job_id: UUID | str, using: str | None = None) -> Job:
    """Queue a failed or cancelled job again, for at least one more attempt.

    Raises InvalidMove, DuplicateJob when another live job holds its dedup key, Job.DoesNotExist.
    """
    using = using or ledger_database()
    job = transitions.retry(_uuid(job_id), using)
    dispatch_on_commit([job], using)
    return job


def cancel_job(job_id: UUID | str, using: str | None = None) -> str:
    """Cancel a job: "cancelled" if it had not started, "requested" if its worker must stop it.

    A running task gets JobCancelled within about a second, and is killed if it goes on.
    Raises InvalidMove for a job that is final, Job.DoesNotExist.
    """
    state = transitions.cancel(_uuid(job_id), using or ledger_database())
    return "cancelled" if state == State.CANCELLED else "requested"


def run_job_now(job_id: UUID | str, using: str | None = None) -> Job:
    """Queue a scheduled job now. Raises InvalidMove when it is not scheduled, Job.DoesNotExist."""
    using = using or ledger_database()
    job = transitions.run_now(_uuid(job_id), using)
    dispatch_on_commit([job], using)
    return job


def delete_jobs(seen: Mapping[UUID, str], using: str | None = None) -> list[Job]:
    """Delete those of these jobs that do not run and are still in the state in which they were
    seen: one that somebody has retried meanwhile stays. Returns what they were.
    """
    return prune.delete_seen_jobs(seen, using or ledger_database())


def pause_queue(queue: str, backend: str | None = None, by: str = "") -> QueuePause | None:
    """Pause a queue: within two seconds no worker begins a job of it any more; what runs goes on.

    backend: its name in TASKS. by: who did it, for the admin. None if it was paused before.
    """
    return queues.pause(queue, _known(backend), by, ledger_database())


def resume_queue(queue: str, backend: str | None = None) -> QueuePause | None:
    """Let a paused queue go on, within two seconds. None if it was not paused."""
    return queues.resume(queue, _known(backend), ledger_database())


def _known(backend: str | None) -> str:
    return backend_settings(backend or default_backend()).backend


def _uuid(job_id: UUID | str) -> UUID:
    return job_id if isinstance(job_id, UUID) else UUID(job_id)
