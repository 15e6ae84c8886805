"""Claim: `queued → running`, by exactly one worker.

The attempt is counted here, so a crash counts. The claim is counted too: an attempt that had not
begun is given back, a claim never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Value, When

from ..core.faultpoints import fault_point
from ..core.options import stored_backends
from ..core.states import TRANSITIONS, State
from ..models import Job
from .dialects import form_of
from .outages import retried
from .returning import skipping_locked, update_returning
from .times import Now

FROM, RUNNING = TRANSITIONS["claim"]


@fault_point("claim")
def claim_many(
    job_ids: Sequence[UUID],
    worker: UUID,
    using: str,
    queues: Sequence[str] = (),
    backend: str | None = None,
) -> list[Job]:
    """Claim for a worker those of these jobs that are there to be claimed, in one statement.

    queues: only those in one of these; none for any. backend: only those of this one.
    Returns their rows in the order of `job_ids`. (worker, claims) of a returned row is the fencing
    token that settling it will need.
    """
    form, aliases = form_of(using), stored_backends(backend) if backend else ()
    if form is not None:
        rows = form.claim(job_ids, worker, using, queues, aliases)
    else:
        queued = Job.objects.using(using).filter(pk__in=job_ids, state__in=sorted(FROM))
        queued = queued.filter(queue__in=queues) if queues else queued
        queued = queued.filter(backend__in=aliases) if aliases else queued
        rows = update_returning(queued, _claimed_by(worker))
    if len(rows) > 1:
        order = {job_id: place for place, job_id in enumerate(dict.fromkeys(job_ids))}
        rows.sort(key=lambda job: order[job.pk])
    return rows


def claim(job_id: UUID, worker: UUID, using: str, queues: Sequence[str] = ()) -> Job | None:
    """Claim this job for a worker and return its row; None if it is not there to be claimed."""
    claimed = claim_many([job_id], worker, using, queues)
    return claimed[0] if claimed else None


@retried
def claim_next(
    queues: Sequence[str],
    worker: UUID,
    using: str,
    claiming: Callable[[UUID], None] | None = None,
    backend: str | None = None,
) -> Job | None:
    """Claim the first queued job of these queues without a message: highest priority first,
    then the order of the queues, then the oldest. For the time when Redis is away, and for tests.

    claiming: told the id before the claim, so that a crash from here on can be laid to it.
    backend: only its jobs.
    """
    with transaction.atomic(using):
        job_id = _first(queues, backend, using)
        if job_id is None:
            return None
        if claiming is not None:
            claiming(job_id)
        return claim(job_id, worker, using)


def _first(queues: Sequence[str], backend: str | None, using: str) -> UUID | None:
    rank = Case(*(When(queue=name, then=Value(i)) for i, name in enumerate(queues)))
    rows = Job.objects.using(using).filter(queue__in=list(queues), state=State.QUEUED)
    if backend is not None:
        rows = rows.filter(backend__in=stored_backends(backend))
    first = skipping_locked(rows).order_by("-priority", rank, "id")
    return first.values_list("pk", flat=True).first()


def _claimed_by(worker: UUID) -> dict[str, Any]:
    return {
        "state": RUNNING,
        "attempt": F("attempt") + 1,
        "claims": F("claims") + 1,
        "worker": worker,
        "started_at": Now(),
        "held_reason": "",
        "dedup_slot": Case(When(dedup_scope="queued", then=Value(None)), default=F("dedup_slot")),
    }
