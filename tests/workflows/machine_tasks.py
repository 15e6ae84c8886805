"""The task of the state machine: it does what the machine has ordered for its job."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from django_bgtasks import Retry, RetryLater, task
from django_bgtasks.core.errors import GiveUp

# What the next attempt of each job does; and how often each has come to its end with success.
ORDERS: dict[UUID, str] = {}
RAN: Counter[UUID] = Counter()


@task(takes_context=True, retry=Retry(max_attempts=3, delays=[0], jitter=0))
def act(context: Any) -> None:
    job = context.job
    order = ORDERS.pop(job.pk, "succeed")
    if order == "grow" and job.batch is not None and job.batch == context.batch.id:
        grow(context)
    if order == "raise":
        raise GiveUp("no")
    if order == "again":
        raise RetryLater(0)
    RAN[job.pk] += 1


def grow(context: Any) -> None:
    """Add one more to its own batch, if that is a group."""
    if context.batch.row.kind == "group" and context.batch.row.cancelled_at is None:
        context.batch.add(act.step())
