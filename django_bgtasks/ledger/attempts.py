"""What a running attempt changes of its own job's row, besides its progress."""

from __future__ import annotations

from typing import Any

from ..models import Job
from .connection import retried
from .lifecycle import owned


@retried
def amend(job: Job, using: str, **values: Any) -> bool:
    """Give the job that runs other arguments, more attempts or another queue for what follows, or
    a result that is not final. False if the claim no longer holds: then nothing was written.
    """
    return bool(owned(job, using).update(**values))
