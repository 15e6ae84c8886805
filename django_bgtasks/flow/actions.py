"""What people do to a job, from the admin, a view or a command."""

from __future__ import annotations

from uuid import UUID

from ..core.states import State
from ..ledger import moves
from ..ledger.sql import ledger_alias
from ..models import Job
from .dispatch import dispatch_on_commit


def get_job(job_id: UUID | str, using: str | None = None) -> Job:
    """The row of a job; Job.DoesNotExist if there is none."""
    return Job.objects.using(using or ledger_alias()).get(pk=job_id)


def retry_job(job_id: UUID | str, using: str | None = None) -> Job:
    """Queue a failed or cancelled job again, for at least one more attempt.

    Raises InvalidMove, DuplicateJob when another live job holds its dedup key, Job.DoesNotExist.
    """
    alias = using or ledger_alias()
    job = moves.retry(_uuid(job_id), alias)
    dispatch_on_commit([job], alias)
    return job


def cancel_job(job_id: UUID | str, using: str | None = None) -> str:
    """Cancel a job: "cancelled" if it had not started, "requested" if its worker must stop it.

    A running task gets JobCancelled within about a second, and is killed if it goes on.
    Raises InvalidMove for a job that is final, Job.DoesNotExist.
    """
    state = moves.cancel(_uuid(job_id), using or ledger_alias())
    return "cancelled" if state == State.CANCELLED else "requested"


def run_job_now(job_id: UUID | str, using: str | None = None) -> Job:
    """Queue a scheduled job now. Raises InvalidMove when it is not scheduled, Job.DoesNotExist."""
    alias = using or ledger_alias()
    job = moves.run_now(_uuid(job_id), alias)
    dispatch_on_commit([job], alias)
    return job


def _uuid(job_id: UUID | str) -> UUID:
    return job_id if isinstance(job_id, UUID) else UUID(job_id)
