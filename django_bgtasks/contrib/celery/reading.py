"""What the ledger says of a call by its id. It needs the models: results import it when asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ...core.errors import InvalidMove
from ...core.flows import CALLBACKS
from ...core.states import WAITING, State
from ...jobs.actions import cancel_job
from ...jobs.results import pauses
from ...jobs.typed import value_of
from ...ledger.batches import GATE_FAILED
from ...ledger.connection import is_in_transaction
from ...ledger.lifecycle import ledger_database
from ...models import Batch, BatchKind, Job
from ...workflows.actions import cancel_batch
from ...workflows.progress import parts_of
from . import states
from .errors import ChordError, ResultTimeoutError, TaskRevokedError
from .failures import exception_of_job, last_attempt
from .request import EXTRAS

STATES = {
    State.RUNNING: states.STARTED,
    State.SUCCEEDED: states.SUCCESS,
    State.FAILED: states.FAILURE,
    State.CANCELLED: states.REVOKED,
}


def find_job(job_id: Any) -> Job | None:
    """The row of a job, read now; None if there is none."""
    pk = _uuid(job_id)
    return None if pk is None else Job.objects.using(ledger_database()).filter(pk=pk).first()


def find_batch(batch_id: Any) -> Batch | None:
    """The row of a batch, read now; None if there is none."""
    pk = _uuid(batch_id)
    return None if pk is None else Batch.objects.using(ledger_database()).filter(pk=pk).first()


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


def elements_of_batch(batch: Batch) -> list[tuple[UUID, Batch | None]]:
    """The ids of the elements of a batch in their order, those that are batches with their rows."""
    using = batch._state.db or ledger_database()
    jobs = Job.objects.using(using).filter(batch=batch.pk).exclude(gate_on__in=sorted(CALLBACKS))
    found: list[tuple[UUID, Batch | None]] = [
        (pk, None) for pk in jobs.values_list("pk", flat=True)
    ]
    found += [(part.pk, part) for part in Batch.objects.using(using).filter(parent=batch.pk)]
    return sorted(found, key=lambda each: each[0])


def is_group(batch: Batch) -> bool:
    """Whether it is one of elements at the same time."""
    return batch.kind == BatchKind.GROUP


def cancel_group(batch_id: Any) -> bool:
    """Cancel a batch with what runs of it; False if it is none, or has ended."""
    batch = find_batch(batch_id)
    if batch is None or batch.finished_at is not None:
        return False
    cancel_batch(batch.pk, ledger_database())
    return True


def followers_of(job: Job) -> list[UUID]:
    """The ids of the jobs that wait for this one."""
    if not job.has_followers:
        return []
    rows = Job.objects.using(job._state.db).filter(gate=job.pk).order_by("pk")
    return list(rows.values_list("pk", flat=True))


def call_values(job: Job) -> tuple[Any, Any]:
    """The arguments of a job, as they were given."""
    args, kwargs = value_of([job.args, job.kwargs]) if job.types else (job.args, job.kwargs)
    return args, {name: value for name, value in kwargs.items() if name != EXTRAS}


def traceback_of(job: Job) -> str | None:
    """The traceback of the last attempt that failed."""
    attempt = None if is_success(job) else last_attempt(job)
    return None if attempt is None else attempt.traceback


def revoke_job(job_id: Any, terminate: bool = False) -> None:
    """Cancel a job that has not begun, or, with terminate, one that runs. Others stay."""
    job = find_job(job_id)
    if job is None or job.is_final or not (terminate or job.state in WAITING):
        return
    try:
        cancel_job(job.pk, ledger_database())
    except (InvalidMove, Job.DoesNotExist):
        # It has ended meanwhile.
        return


def is_success(job: Job) -> bool:
    """Whether its task has returned."""
    return job.state == State.SUCCEEDED


def _custom(job: Job) -> Mapping[str, Any] | None:
    """What update_state() has set of a job that runs."""
    if job.state != State.RUNNING or not isinstance(job.result, dict):
        return None
    return job.result


def failed_before(job: Job) -> tuple[Job | None, bool]:
    """The job whose failure has kept this step from running, and whether it is one of a group;
    None of other jobs.
    """
    using, gate, in_group = job._state.db or ledger_database(), job.gate, False
    if job.error_code != GATE_FAILED:
        return None, in_group
    while gate is not None:
        before = Job.objects.using(using).filter(pk=gate).first()
        if before is not None:
            if before.state == State.FAILED or before.error_code != GATE_FAILED:
                return (before if before.state == State.FAILED else None), in_group
            gate = before.gate
            continue
        batch = Batch.objects.using(using).filter(pk=gate).first()
        if batch is None:
            break
        in_group = True
        jobs = Job.objects.using(using).filter(batch__in=parts_of(batch, using))
        if failed := jobs.filter(state=State.FAILED).order_by("finished_at", "pk").first():
            return failed, in_group
        gate = batch.gate
    return None, in_group


def celery_state(job: Job | None) -> str:
    """The state of a job as Celery names it; a step behind a failure has failed, too."""
    if job is None:
        return states.PENDING
    if job.state in WAITING:
        return states.RETRY if job.attempt else states.PENDING
    if job.state == State.CANCELLED and failed_before(job)[0] is not None:
        return states.FAILURE
    custom = _custom(job)
    return str(custom["state"]) if custom and custom.get("state") else STATES[State(job.state)]


def value_of_job(job: Job | None) -> Any:
    """What the task returned, its exception, or what it has shown while it runs."""
    if job is None:
        return None
    if job.state == State.SUCCEEDED:
        return value_of(job.result) if job.types else job.result
    if job.state == State.RUNNING:
        custom = _custom(job)
        if custom is None:
            return {"pid": None, "hostname": str(job.worker)}
        return value_of(custom["meta"]) if job.types else custom["meta"]
    return _error_of(job)


def _error_of(job: Job) -> BaseException | None:
    """The exception of a job that has not succeeded; None if it has not been tried."""
    if job.state != State.CANCELLED:
        return exception_of_job(job) if job.attempt else None
    failed, in_group = failed_before(job)
    if failed is not None:
        return _error_before(failed, in_group)
    return TaskRevokedError("terminated" if job.attempt else "revoked")


def wait_for(result: Any, timeout: float | None, what: str) -> None:
    """Wait until a result is ready; see AsyncResult.get()."""
    if result.ready():
        return
    if is_in_transaction(ledger_database()):
        raise RuntimeError(
            f"Task {what} cannot even begin before this transaction ends: its job is not committed "
            f"yet, or its end is not seen here. Wait outside of it, or set "
            f"CELERY_TASK_ALWAYS_EAGER in tests."
        )
    try:
        for pause in pauses(f"Task {what}", timeout):
            if result.ready():
                return
            time.sleep(pause)
    except TimeoutError:
        raise ResultTimeoutError("The operation timed out.") from None


def _error_before(failed: Job, in_group: bool) -> BaseException:
    """What a step behind a failure has for a result."""
    error = exception_of_job(failed)
    if not in_group:
        return error
    chord_error = ChordError(f"Dependency {failed.pk} raised {error!r}")
    chord_error.__cause__ = error
    return chord_error
