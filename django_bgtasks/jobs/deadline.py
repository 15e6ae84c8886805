"""Until when a job must have begun, as its task says."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from ..core import clock
from ..core.errors import InvalidArguments
from ..core.spans import span_of
from ..ledger.times import after


def deadline_of(task: Any) -> Any:
    """Until when the job must have begun; a length of time counts by the database's clock."""
    expires: Any = task.expires
    limit, run_after = expires, task.run_after
    if not isinstance(expires, datetime):
        span = span_of(expires, "expires")
        limit, expires = clock.now() + span, after(span)
    if run_after is not None and _aware(run_after) >= _aware(limit):
        raise InvalidArguments(
            f"{task.module_path}: the job could never run: run_after is {run_after}, and it "
            f"expires at {limit}. Give a later time with .using(expires=...), or None."
        )
    return expires


def _aware(moment: datetime) -> datetime:
    """A naive time is one of TIME_ZONE, as the database gets it."""
    if timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())
