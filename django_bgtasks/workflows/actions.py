"""What people do to a workflow: cancel it, and retry what has failed in it."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from ..core.errors import InvalidMove
from ..core.states import State, Transition
from ..jobs.actions import By, acting, cancel_job, retry_job
from ..ledger import history
from ..ledger.batches import SKIP_CODES
from ..ledger.connection import in_transaction
from ..ledger.lifecycle import ledger_database
from ..models import Batch, HistoryVerb, Job
from .followers import cancel_all
from .progress import parts_of


def cancel_batch(batch_id: UUID | str, using: str | None = None, by: By = None) -> int:
    """Cancel a batch: its jobs that wait are cancelled, those that run are asked to stop.

    Its on_complete step still runs, on_success and on_failure do not. by: who wants it, for the
    history; None writes nothing there. Returns how many jobs were cancelled or asked. Raises
    InvalidMove if the batch is finished, Batch.DoesNotExist.
    """
    using = using or ledger_database()
    batch = Batch.objects.using(using).get(pk=batch_id)
    if batch.finished_at is not None:
        raise InvalidMove.of("batch_finished", batch=str(batch.pk), outcome=batch.outcome)
    _record(HistoryVerb.BATCH_CANCELLED, batch, by, using)
    cancelled = cancel_all(batch.pk, using)
    running = Job.objects.using(using).filter(batch__in=parts_of(batch, using), state=State.RUNNING)
    count = len(cancelled)
    for job_id in list(running.values_list("pk", flat=True)):
        with suppress(InvalidMove):
            cancel_job(job_id, using)
            count += 1
    return count


def retry_batch(batch_id: UUID | str, using: str | None = None, by: By = None) -> int:
    """Retry the jobs of a batch and of its parts that have failed or were cancelled; what was
    skipped behind them waits for them again.

    A callback that has run does not run again. by: as in cancel_batch(). Returns how many jobs were
    retried. Raises DuplicateJob if a dedup key is taken meanwhile, Batch.DoesNotExist.
    """
    using = using or ledger_database()
    batch = Batch.objects.using(using).get(pk=batch_id)

    def retry() -> int:
        ended = Job.objects.using(using).filter(
            batch__in=parts_of(batch, using), state__in=Transition.RETRY.sources
        )
        count = 0
        # In the order of their ids: a step comes after the one for which it waits.
        for job_id in list(
            ended.exclude(error_code__in=SKIP_CODES).order_by("pk").values_list("pk", flat=True)
        ):
            with suppress(InvalidMove):
                retry_job(job_id, using)
                count += 1
        if count:
            _record(HistoryVerb.BATCH_RETRIED, batch, by, using)
        return count

    return in_transaction(retry, using)


def _record(verb: HistoryVerb, batch: Batch, by: By, using: str) -> None:
    actor = acting(by)
    if actor is not None:
        history.record(verb, actor, [{"batch": batch.pk, "detail": str(batch)}], using)
