"""Jobs that must begin in time: what a claim asks of them, and their end if nobody claims them.

A job that has begun does not expire: its attempt is counted, or `expires_at` was taken away when
the attempt was given back.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q

from ..core.faultpoints import fault_point
from ..core.options import known_backends
from ..core.outcomes import outcome_of_expiry
from ..core.states import Transition
from ..models import Job
from .batches import cancel_rows
from .connection import retried
from .times import Now

Jobs = models.QuerySet[Job]


def not_expired() -> Q:
    """What a claim asks of a job; `statement_texts.claim_sql` says the same."""
    return Q(expires_at=None) | Q(attempt__gt=0) | Q(expires_at__gt=Now())


def that_expire(using: str) -> Jobs:
    """Jobs that have not begun and must begin in time.

    As the condition of their index says it. Those of backends that TASKS does not have wait: who
    knows their backend tells its middleware.
    """
    rows = Job.objects.using(using).filter(backend__in=known_backends())
    return rows.filter(expires_at__isnull=False, finished_at__isnull=True, attempt=0)


@retried
@fault_point("expire")
def expire(limit: int, using: str, job_id: UUID | None = None) -> list[Job]:
    """Cancel jobs that have not begun in time; at most `limit` at once. Returns them.

    job_id: only this one.
    """
    late = that_expire(using).filter(expires_at__lte=Now(), state__in=Transition.EXPIRE.sources)
    late = late if job_id is None else late.filter(pk=job_id)
    # Without locks: those of batches come before those of jobs, and on SQLite a transaction takes
    # the write lock, whatever it does.
    found = dict(late.order_by("expires_at").values_list("pk", "batch")[:limit])
    if not found:
        return []
    # Looked at again: somebody may have moved it meanwhile, or given it more time.
    return cancel_rows(late.filter(pk__in=list(found)), _ended(), found.values(), using)


def free_expired_slot(holder: Job, using: str) -> bool:
    """Take its dedup slot from a job that has not begun in time, for a new call.

    expire() cancels it: that is told once, and not by whose transaction may be rolled back.
    """
    late = Job.objects.using(using).filter(
        pk=holder.pk,
        state__in=Transition.EXPIRE.sources,
        attempt=0,
        expires_at__lte=Now(),
        dedup_slot=holder.dedup_slot,
    )
    return bool(late.update(dedup_slot=None))


def _ended() -> dict[str, Any]:
    """It has not run: its key is free, also where a window would keep it."""
    outcome = outcome_of_expiry()
    return {
        "state": outcome.state,
        "finished_at": Now(),
        "dedup_slot": None,
        "place": None,
        "seat": None,
        "waits_for": "",
        **outcome.error_columns,
    }
