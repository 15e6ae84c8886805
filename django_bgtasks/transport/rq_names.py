"""What code that was written for RQ names of it: its own classes, so that its own imports agree."""

from __future__ import annotations

from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import Callback, JobStatus, Retry
from rq.utils import parse_timeout

__all__ = [
    "Callback",
    "DuplicateJobError",
    "InvalidJobOperation",
    "JobStatus",
    "NoSuchJobError",
    "Retry",
    "parse_timeout",
]
