"""What a running attempt writes and asks, fenced like its settlement."""

from __future__ import annotations

from ..core.progress import Progress
from ..models import Job
from .outages import retried
from .settle import owned


@retried
def report(job: Job, progress: Progress, using: str) -> bool:
    """Write progress. False if the claim no longer holds."""
    told = owned(job, using).update(
        progress_done=progress.done,
        progress_total=progress.total,
        progress_message=progress.message,
    )
    return bool(told)


def holds_claim(job: Job, using: str) -> bool:
    """Whether the row still shows this claim."""
    return owned(job, using).exists()


@retried
def is_cancelled(job: Job, using: str) -> bool | None:
    """Whether a cancellation was asked for; None if the claim no longer holds."""
    row = owned(job, using).values_list("cancel_requested_at", flat=True)
    found = list(row)
    return bool(found[0]) if found else None
