"""What a running attempt writes and asks, fenced like its settlement."""

from __future__ import annotations

from typing import Any

from ..core.payload import clipped
from ..models import Job
from .outages import retried
from .settle import owned


@retried
def report(job: Job, done: int, total: int | None, message: str, alias: str) -> bool:
    """Write progress. False if the claim no longer holds."""
    values: dict[str, Any] = {
        "progress_done": done,
        "progress_total": total,
        "progress_message": clipped(message)[:255],
    }
    return bool(owned(job, alias).update(**values))


@retried
def is_cancelled(job: Job, alias: str) -> bool | None:
    """Whether a cancellation was asked for; None if the claim no longer holds."""
    row = owned(job, alias).values_list("cancel_requested_at", flat=True)
    found = list(row)
    return bool(found[0]) if found else None
