"""Step 5: claim the row, run the task, settle the row.

Short jobs are claimed together and settled together: a commit for each would take longer than they
do. Next: backend.get_result and the admin (6 the same row, read).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InternalError, connections, transaction

from ..core import clock
from ..core.compat import is_heard, send_signal
from ..core.errors import ClaimLost, Interruption, TaskNotFound
from ..core.faultpoints import fault_point
from ..core.messages import CRASHES, Reason
from ..core.outcomes import NO_ERROR, Outcome, raised, released, undone
from ..core.payload import json_value, printable
from ..core.registry import find_task
from ..core.retry import DEFAULT_RETRY
from ..core.sensitive import redact
from ..core.states import FINAL, TRANSITIONS, State
from ..ledger import progress
from ..ledger.claim import claim_many
from ..ledger.outages import DISCONNECTED, retry_until_connected, undid
from ..ledger.returning import ledger_database
from ..ledger.settle import is_settled, lost_claim, settle, settle_many, settle_once
from ..models import Job
from ..sandbox.connections import (
    SessionGuard,
    drop_connections,
    kept_usable,
    refresh_connections,
    refuse_ended_transaction,
)
from ..signals import job_retrying
from .call import call
from .context import JobContext, write_progress
from .dispatch import dispatch_on_commit
from .hooks import tell_failed
from .paused_limits import limits_paused
from .results import result_of

logger = logging.getLogger("django_bgtasks")
OUT_OF_SIGHT = (
    "The task changed its database session, by SET ROLE or search_path say: the row of its own job "
    "was out of sight, and its transaction was rolled back. Use SET LOCAL, and RESET it."
)
HELD = timedelta(seconds=30)
BEGIN_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one message: the claimed job and its settlement, for the log line.

    open: it succeeded, and its settlement is still to be written with those of its group.
    """

    job: Job
    settlement: Outcome
    seconds: float
    open: bool = False

    @property
    def outcome(self) -> str:
        """One word: succeeded, failed, cancelled, or what the job does next."""
        state = TRANSITIONS[self.settlement.move][1]
        if state in FINAL:
            return str(state)
        return "retrying" if self.settlement.failure else str(state)


def claim_jobs(
    job_ids: Sequence[UUID],
    worker: UUID,
    using: str,
    queues: Sequence[str] = (),
    backend: str | None = None,
) -> list[Job]:
    """Claim the jobs of messages. Those that are not there to be claimed are left out.

    queues, backend: those that the worker was told; which list of Redis brought a message says
    nothing.
    """
    refresh_connections()
    claim = partial(claim_many, job_ids, worker, using, queues, backend)
    return retry_until_connected(claim, using)


def run_claimed(job: Job, using: str, grouped: bool = False) -> Run | None:
    """Run a job that this worker has claimed, and settle it. None if the claim was lost.

    grouped: a success may be left open, for settle_runs(); see may_stay_open().
    """
    start = clock.monotonic()
    try:
        settlement, is_open = _perform(job, using, grouped and may_stay_open(job))
    except ClaimLost as lost:
        logger.warning("%s", lost)
        return None
    return Run(job, settlement, clock.monotonic() - start, is_open)


def is_suspect(job: Job) -> bool:
    """Whether its last attempt ended with its process: it may have been another job's fault.

    It runs alone, so that the next crash is laid to the right one.
    """
    return job.error_code in CRASHES


def may_stay_open(job: Job) -> bool:
    """Whether the success of this attempt may wait to be settled with those of others.

    If the process dies before, the attempt is charged and the job runs again. So not for a job that
    must not be repeated, that has no further attempt, or that a crash has charged already.
    """
    repeatable = job.on_crash == "retry" and job.attempt < job.max_attempts
    return repeatable and not is_suspect(job)


def settle_runs(runs: Sequence[Run], using: str, patient: bool = True) -> list[Run]:
    """Settle the open ones of these runs in one commit. Returns those whose claim still held.

    patient: outlive a lost connection; otherwise its error is raised.
    """
    refresh_connections()
    done = [(run.job, run.settlement.result) for run in runs if run.open]
    settle_all = partial(settle_many, done, using)
    try:
        settled = retry_until_connected(settle_all, using) if patient else settle_all()
    except DatabaseError:
        if not patient:
            raise
        # It refuses one of them: this one fails, and the others stand.
        alone = (_settle_alone(run, using) if run.open else run for run in runs)
        return [run for run in alone if run is not None]
    for run in runs:
        if run.open and run.job.pk in settled:
            _tell(run.job, run.settlement, using)
        elif run.open:
            logger.warning("%s", lost_claim(run.job))
    return [run for run in runs if not run.open or run.job.pk in settled]


def _settle_alone(run: Run, using: str) -> Run | None:
    """Settle an open run by itself. None if its claim was lost."""
    try:
        settlement = _succeeded(run.job, find_task(run.job.task), run.settlement, using)
    except ClaimLost as lost:
        logger.warning("%s", lost)
        return None
    return replace(run, settlement=settlement, open=False)


def _perform(job: Job, using: str, may_stay_open: bool) -> tuple[Outcome, bool]:
    """Run the task. Returns its settlement, and whether that is still to be written."""
    context = opened(job, using)
    if isinstance(context, Outcome):
        return context, False
    if getattr(context.task, "atomic", False):
        # What is set within a transaction, or by what runs after its commit, is the session's.
        guard = SessionGuard()
        try:
            return _perform_atomic(job, context.task, context), False
        finally:
            guard.restore()

    def outcome() -> Any:
        with kept_usable(using):
            return call(context.task, context, job.timeout)

    return concluded(context, outcome, may_stay_open)


def opened(job: Job, using: str) -> JobContext | Outcome:
    """Find the task and tell its receivers; the settlement if it is not to be run here and now."""
    if job.cancel_requested_at is not None:
        return _settled(job, Outcome("stop", charged=False), using)
    try:
        task = find_task(job.task)
    except TaskNotFound as error:
        # Held, not failed: the job runs when the code is there again.
        return _settled(job, released(error.reason, HELD), using)
    context = JobContext(job, task, using)
    if is_heard("task_started", logging.INFO):
        result = retry_until_connected(lambda: context.task_result, using)
        send_signal("task_started", sender=sender_of(task), task_result=result)
    return context


def concluded(
    context: JobContext, outcome: Callable[[], Any], may_stay_open: bool
) -> tuple[Outcome, bool]:
    """Settle what outcome() returns or raises, as run_claimed() does.

    Returns the settlement, and whether that is still to be written.
    """
    job, using = context.job, context.using
    try:
        value = json_value(outcome(), "the result", job.task)
    except BaseException as error:
        return _failed(job, context.task, error, using), False
    success = Outcome("succeed", result=value)
    if may_stay_open:
        return success, True
    return _succeeded(job, context.task, success, using), False


def _succeeded(job: Job, task: Any, success: Outcome, using: str) -> Outcome:
    """Settle a success; what the database refuses to store is a failure with that error."""
    try:
        return _settled(job, success, using)
    except DatabaseError as refusal:
        return _failed(job, task, refusal, using)


def _perform_atomic(job: Job, task: Any, context: JobContext) -> Outcome:
    """The effects and the settlement commit together, or neither does."""
    using, session, settlement = context.using, None, None
    try:
        with transaction.atomic(using):
            session = connections[using].connection
            value = json_value(call(task, context, job.timeout), "the result", job.task)
            refuse_ended_transaction(using)
            settlement = Outcome("succeed", result=value)
            write_progress(context)
            settle_once(job, settlement, using)
            _log_failures_of_hooks(job, using)
    except DISCONNECTED as error:
        if session is None:
            return _settled(job, released(Reason("no_transaction"), BEGIN_AGAIN), using)
        # A task that swallowed an error of the database has broken its transaction itself.
        its_own = settlement is None or isinstance(error, InternalError)
        if its_own and not undid(error, session, using):
            return _failed(job, task, error, using)
        return _undone(job, task, error, settlement, using)
    except BaseException as error:
        return _failed(job, task, error, using)
    _tell(job, settlement, using)
    return settlement


def _log_failures_of_hooks(job: Job, using: str) -> None:
    """Let what runs after the commit raise into the log: the job has succeeded by then.

    So all hooks run. Within somebody's transaction, as a test's, they are left to that one.
    """
    connection: Any = connections[using]
    if len(connection.atomic_blocks) == 1:
        hooks = connection.run_on_commit
        connection.run_on_commit = [(ids, _logging(hook, job), True) for ids, hook, _ in hooks]


def _logging(hook: Callable[[], object], job: Job) -> Callable[[], None]:
    def run() -> None:
        try:
            hook()
        except BaseException:
            logger.exception(
                "A function that job %s (%s) gave to transaction.on_commit() raised. The job has "
                "succeeded: its transaction was committed before.",
                job.pk,
                printable(job.task),
            )

    return run


def _undone(
    job: Job, task: Any, error: BaseException, settlement: Outcome | None, using: str
) -> Outcome:
    """The database undid the attempt, unless only the answer to its COMMIT was lost."""
    drop_connections()
    again = undone(error, job.attempt, job.max_attempts, job.on_crash, clock.rng)
    if settlement is None:
        return _ended(job, task, again, using)
    try:
        if not retry_until_connected(lambda: is_settled(job, settlement, using), using):
            return _ended(job, task, again, using)
    except ClaimLost:
        # The COMMIT was still under way when it was looked for: the write has waited for its end.
        if not retry_until_connected(lambda: is_settled(job, settlement, using), using):
            raise
    _tell(job, settlement, using)
    return settlement


def _failed(job: Job, task: Any, error: BaseException, using: str) -> Outcome:
    """Settle an attempt that raised. Called inside the handler: receivers see the exception."""
    if isinstance(error, ClaimLost):
        drop_connections()
        if not retry_until_connected(lambda: progress.holds_claim(job, using), using):
            raise error
        error = RuntimeError(OUT_OF_SIGHT)
    if isinstance(error, Interruption):
        # It may have struck in the middle of a query: the connection cannot be trusted.
        drop_connections()
    retry = getattr(task, "retry", DEFAULT_RETRY)
    settlement = raised(error, job.attempt, job.max_attempts, retry, clock.rng)
    return _ended(job, task, settlement, using)


def _ended(job: Job, task: Any, settlement: Outcome, using: str) -> Outcome:
    """Settle an attempt that did not succeed; a job that was cancelled meanwhile does not go on."""
    settlement = settlement.telling(lambda text: redact(text, task, job.args, job.kwargs))
    with limits_paused(job):
        refresh_connections()
        goes_on = TRANSITIONS[settlement.move][1] not in FINAL
        if goes_on and retry_until_connected(lambda: progress.is_cancelled(job, using), using):
            settlement = Outcome("stop", failure=settlement.failure)
    _settled(job, settlement, using)
    tell_failed(job, task, settlement)
    return settlement


def _settled(job: Job, settlement: Outcome, using: str) -> Outcome:
    with limits_paused(job):
        # A task may have left a transaction open on this connection: it would hang in that.
        refresh_connections()
        settle(job, settlement, using)
    _tell(job, settlement, using)
    return settlement


@fault_point("tell")
def _tell(job: Job, settlement: Outcome, using: str) -> None:
    """After the settlement: dispatch what runs again, and send the signals."""
    settled_row(job, settlement)
    if job.state == State.QUEUED:
        dispatch_on_commit([job], using)
    if job.state in FINAL:
        announce("finished", job)
    elif settlement.failure is not None:
        announce("retrying", job)


def settled_row(job: Job, settlement: Outcome) -> None:
    """Bring the row in memory to where the settlement put it."""
    job.state = TRANSITIONS[settlement.move][1]
    is_clean = settlement.failure is None and settlement.held_by is None
    job.__dict__.update(NO_ERROR if is_clean else settlement.error_columns)
    if job.state in FINAL:
        job.result, job.finished_at = settlement.result, clock.now_as_stored()
    if not settlement.charged:
        job.attempt -= 1


def announce(what: str, job: Job) -> None:
    """Send `task_finished` or `job_retrying` for a job, if its task can be found here."""
    level = logging.INFO if job.state == State.SUCCEEDED else logging.ERROR
    if what == "finished" and not is_heard("task_finished", level):
        return
    try:
        task = find_task(job.task)
    except TaskNotFound:
        return
    result = retry_until_connected(lambda: result_of(job, task), job._state.db or ledger_database())
    if what == "finished":
        send_signal("task_finished", sender=sender_of(task), task_result=result)
    else:
        job_retrying.send_robust(sender=sender_of(task), task_result=result)


def sender_of(task: Any) -> type:
    """The sender of the signals about jobs of this task: the class of its backend."""
    return type(task.get_backend())
