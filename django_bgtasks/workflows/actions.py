"""What people do to a workflow: cancel it, and retry what has failed in it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from ..core.errors import InvalidMove
from ..core.states import WAITING, State, Transition
from ..jobs.actions import By, acting, cancel_job, retry_job
from ..jobs.inline import run_again_on_commit
from ..ledger import history
from ..ledger.batch_moves import mark_cancelled
from ..ledger.batches import SKIP_CODES
from ..ledger.connection import in_transaction
from ..ledger.lifecycle import ledger_database
from ..ledger.transitions import retry_members
from ..models import Batch, HistoryVerb, Job
from .followers import cancel_all
from .progress import count_states, parts_of

# Jobs that are retried in one transaction: it keeps the rows of their batches locked.
PAGE = 1000


def cancel_batch(
    batch_id: UUID | str, using: str | None = None, by: By = None, at_once: int | None = None
) -> int:
    """Cancel a batch: its jobs that wait are cancelled, those that run are asked to stop.

    Its on_complete step still runs, on_success and on_failure do not. by: who wants it, for the
    history; None writes nothing there. at_once: where more jobs wait than that, maintenance cancels
    them within seconds, so that nobody waits for it here. Returns how many jobs were cancelled or
    asked. Raises InvalidMove if the batch is finished, Batch.DoesNotExist.
    """
    using = using or ledger_database()
    batch = Batch.objects.using(using).get(pk=batch_id)
    if batch.finished_at is not None:
        raise InvalidMove.of("batch_finished", batch=str(batch.pk), outcome=batch.outcome)
    _record(HistoryVerb.BATCH_CANCELLED, batch, by, using)
    count = _cancel_waiting(batch, at_once, using)
    running = Job.objects.using(using).filter(batch__in=parts_of(batch, using), state=State.RUNNING)
    for job_id in list(running.values_list("pk", flat=True)):
        with suppress(InvalidMove):
            cancel_job(job_id, using)
            count += 1
    return count


def retry_batch(batch_id: UUID | str, using: str | None = None, by: By = None) -> int:
    """Retry the jobs of a batch and of its parts that have failed or were cancelled; what was
    skipped behind them waits for them again.

    A callback that has run does not run again. by: as in cancel_batch(). Very many are retried in
    several transactions, one after another. Returns how many jobs were retried. Raises DuplicateJob
    if a dedup key is taken meanwhile, Batch.DoesNotExist.
    """
    using = using or ledger_database()
    batch = Batch.objects.using(using).get(pk=batch_id)
    rows = Job.objects.using(using).filter(state__in=Transition.RETRY.sources)
    rows = rows.filter(batch__in=parts_of(batch, using)).exclude(error_code__in=SKIP_CODES)
    # In the order of their ids: a step comes after the one for which it waits.
    names = ("pk", "batch", "gate", "dedup_key")
    found = [Ended(*row) for row in rows.order_by("pk").values_list(*names)]
    count = 0
    for start in range(0, len(found), PAGE):
        page = found[start : start + PAGE]
        count += in_transaction(
            partial(_retry_page, page, batch, None if count else by, using), using
        )
    return count


class Ended(NamedTuple):
    """A job that is to be retried."""

    id: UUID
    batch: UUID
    gate: UUID | None
    dedup_key: str


def _retry_page(page: Sequence[Ended], batch: Batch, by: By, using: str) -> int:
    ids = {job.batch for job in page}
    gates = dict(Batch.objects.using(using).filter(pk__in=ids).values_list("pk", "gate"))

    def batch_of_many(job: Ended) -> UUID | None:
        """Its batch, if it can be retried together with others of that."""
        return job.batch if job.gate == gates.get(job.batch) and not job.dedup_key else None

    count = 0
    for together, members in groupby(page, key=batch_of_many):
        jobs = [job.id for job in members]
        if together is not None:
            with suppress(InvalidMove):
                count += _retry_together(jobs, together, using)
            continue
        for job_id in jobs:
            with suppress(InvalidMove):
                retry_job(job_id, using)
                count += 1
    if count:
        _record(HistoryVerb.BATCH_RETRIED, batch, by, using)
    return count


def _retry_together(ids: Sequence[UUID], batch: UUID, using: str) -> int:
    jobs = retry_members(ids, batch, using)
    for job in jobs:
        run_again_on_commit(job, using)
    return len(jobs)


def _cancel_waiting(batch: Batch, at_once: int | None, using: str) -> int:
    if at_once is not None:
        states = count_states([batch.pk], using).get(batch.pk, {})
        if sum(states.get(state, 0) for state in WAITING) > at_once:
            mark_cancelled(batch.pk, using)
            return 0
    return len(cancel_all(batch.pk, using))


def _record(verb: HistoryVerb, batch: Batch, by: By, using: str) -> None:
    actor = acting(by)
    if actor is not None:
        history.record(verb, actor, [{"batch": batch.pk, "detail": str(batch)}], using)
