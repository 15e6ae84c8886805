"""Step 5: claim the row, run the task, settle the row.

Short jobs are claimed together and settled together: a commit for each would take longer than they
do. Next: backend.get_result and the admin (6 the same row, read).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import InternalError, connections, transaction

from ..core import clock
from ..core.compat import is_heard, send_signal
from ..core.errors import ClaimLost, Interruption, TaskNotFound
from ..core.faultpoints import fault_point
from ..core.payload import checked
from ..core.reasons import NO_TRANSACTION
from ..core.registry import find_task
from ..core.retry import DEFAULT_RETRY
from ..core.sensitive import struck_out
from ..core.settlement import Settlement, raised, released, undone
from ..core.states import FINAL, MOVES, State
from ..ledger import running
from ..ledger.claim import claim_many
from ..ledger.outages import DISCONNECTED, retry_until_connected, undid
from ..ledger.settle import is_settled, lost_claim, settle, settle_many, settle_once
from ..ledger.sql import ledger_alias
from ..models import Job
from ..signals import job_retrying
from .around import tell_failed
from .call import call
from .connections import drop_connections, kept_usable, refresh_connections
from .context import JobContext, write_progress
from .dispatch import dispatch_on_commit
from .results import result_of

logger = logging.getLogger("django_bgtasks")
HELD = timedelta(seconds=30)
BEGIN_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one message: the claimed job and its settlement, for the log line.

    open: it succeeded, and its settlement is still to be written with those of its group.
    """

    job: Job
    settlement: Settlement
    seconds: float
    open: bool = False

    @property
    def outcome(self) -> str:
        """One word: succeeded, failed, cancelled, or what the job does next."""
        state = MOVES[self.settlement.move][1]
        if state in FINAL:
            return str(state)
        return "retrying" if self.settlement.failure else str(state)


def claim_jobs(
    job_ids: Sequence[UUID], worker: UUID, alias: str, queues: Sequence[str] = ()
) -> list[Job]:
    """Claim the jobs of messages. Those that are not there to be claimed are left out.

    queues: those that the worker was told; which list of Redis brought a message says nothing.
    """
    refresh_connections()
    return retry_until_connected(lambda: claim_many(job_ids, worker, alias, queues), alias)


def run_claimed(job: Job, alias: str, grouped: bool = False) -> Run | None:
    """Run a job that this worker has claimed, and settle it. None if the claim was lost.

    grouped: a success may be left open, for settle_runs(). What must not be repeated is not: if
    this process dies, an open run happens again.
    """
    start = clock.monotonic()
    try:
        settlement, is_open = _perform(job, alias, grouped and job.on_crash == "retry")
    except ClaimLost as lost:
        logger.warning("%s", lost)
        return None
    return Run(job, settlement, clock.monotonic() - start, is_open)


def settle_runs(runs: Sequence[Run], alias: str, patient: bool = True) -> list[Run]:
    """Settle the open ones of these runs in one commit. Returns those whose claim still held.

    patient: outlive a lost connection; otherwise its error is raised.
    """
    refresh_connections()
    done = [(run.job, run.settlement.result) for run in runs if run.open]
    settle_all = partial(settle_many, done, alias)
    settled = retry_until_connected(settle_all, alias) if patient else settle_all()
    for run in runs:
        if run.open and run.job.pk in settled:
            _tell(run.job, run.settlement, alias)
        elif run.open:
            logger.warning("%s", lost_claim(run.job))
    return [run for run in runs if not run.open or run.job.pk in settled]


def _perform(job: Job, alias: str, may_stay_open: bool) -> tuple[Settlement, bool]:
    """Run the task. Returns its settlement, and whether that is still to be written."""
    context = opened(job, alias)
    if isinstance(context, Settlement):
        return context, False
    if getattr(context.task, "atomic", False):
        return _perform_atomic(job, context.task, context), False

    def outcome() -> Any:
        with kept_usable(alias):
            return call(context.task, context, job.timeout)

    return concluded(context, outcome, may_stay_open)


def opened(job: Job, alias: str) -> JobContext | Settlement:
    """Find the task and tell its receivers; the settlement if it is not to be run here and now."""
    if job.cancel_requested_at is not None:
        return _settled(job, Settlement("stop", charged=False), alias)
    try:
        task = find_task(job.task)
    except TaskNotFound as error:
        # Held, not failed: the job runs when the code is there again.
        return _settled(job, released(str(error)[:255], HELD), alias)
    context = JobContext(job, task, alias)
    if is_heard("task_started", logging.INFO):
        result = retry_until_connected(lambda: context.task_result, alias)
        send_signal("task_started", sender=sender_of(task), task_result=result)
    return context


def concluded(
    context: JobContext, outcome: Callable[[], Any], may_stay_open: bool
) -> tuple[Settlement, bool]:
    """Settle what outcome() returns or raises, as run_claimed() does.

    Returns the settlement, and whether that is still to be written.
    """
    job, alias = context.job, context.alias
    try:
        value = checked(outcome(), "the result", job.task)
    except BaseException as error:
        return _failed(job, context.task, error, alias), False
    success = Settlement("succeed", result=value)
    return (success, True) if may_stay_open else (_settled(job, success, alias), False)


def _perform_atomic(job: Job, task: Any, context: JobContext) -> Settlement:
    """The effects and the settlement commit together, or neither does."""
    alias, session, settlement = context.alias, None, None
    try:
        with transaction.atomic(alias):
            session = connections[alias].connection
            value = checked(call(task, context, job.timeout), "the result", job.task)
            settlement = Settlement("succeed", result=value)
            write_progress(context)
            settle_once(job, settlement, alias)
    except DISCONNECTED as error:
        if session is None:
            return _settled(job, released(NO_TRANSACTION, BEGIN_AGAIN), alias)
        # A task that swallowed an error of the database has broken its transaction itself.
        its_own = settlement is None or isinstance(error, InternalError)
        if its_own and not undid(error, session, alias):
            return _failed(job, task, error, alias)
        return _undone(job, task, error, settlement, alias)
    except BaseException as error:
        return _failed(job, task, error, alias)
    _tell(job, settlement, alias)
    return settlement


def _undone(
    job: Job, task: Any, error: BaseException, settlement: Settlement | None, alias: str
) -> Settlement:
    """The database undid the attempt, unless only the answer to its COMMIT was lost."""
    drop_connections()
    again = undone(error, job.attempt, job.max_attempts, job.on_crash, clock.rng)
    if settlement is None:
        return _ended(job, task, again, alias)
    try:
        if not retry_until_connected(lambda: is_settled(job, settlement, alias), alias):
            return _ended(job, task, again, alias)
    except ClaimLost:
        # The COMMIT was still under way when it was looked for: the write has waited for its end.
        if not retry_until_connected(lambda: is_settled(job, settlement, alias), alias):
            raise
    _tell(job, settlement, alias)
    return settlement


def _failed(job: Job, task: Any, error: BaseException, alias: str) -> Settlement:
    """Settle an attempt that raised. Called inside the handler: receivers see the exception."""
    if isinstance(error, ClaimLost):
        raise error
    if isinstance(error, Interruption):
        # It may have struck in the middle of a query: the connection cannot be trusted.
        drop_connections()
    retry = getattr(task, "retry", DEFAULT_RETRY)
    settlement = raised(error, job.attempt, job.max_attempts, retry, clock.rng)
    return _ended(job, task, settlement, alias)


def _ended(job: Job, task: Any, settlement: Settlement, alias: str) -> Settlement:
    """Settle an attempt that did not succeed; a job that was cancelled meanwhile does not go on."""
    settlement = settlement.telling(lambda text: struck_out(text, task, job.args, job.kwargs))
    refresh_connections()
    goes_on = MOVES[settlement.move][1] not in FINAL
    if goes_on and retry_until_connected(lambda: running.is_cancelled(job, alias), alias):
        settlement = Settlement("stop", failure=settlement.failure)
    _settled(job, settlement, alias)
    tell_failed(job, task, settlement)
    return settlement


def _settled(job: Job, settlement: Settlement, alias: str) -> Settlement:
    # A task may have left a transaction open on this connection: the settlement would hang in it.
    refresh_connections()
    settle(job, settlement, alias)
    _tell(job, settlement, alias)
    return settlement


@fault_point("tell")
def _tell(job: Job, settlement: Settlement, alias: str) -> None:
    """After the settlement: dispatch what runs again, and send the signals."""
    settled_row(job, settlement)
    if job.state == State.QUEUED:
        dispatch_on_commit([job], alias)
    if job.state in FINAL:
        announce("finished", job)
    elif settlement.failure is not None:
        announce("retrying", job)


def settled_row(job: Job, settlement: Settlement) -> None:
    """Bring the row in memory to where the settlement put it."""
    job.state = MOVES[settlement.move][1]
    job.error = settlement.failure.line if settlement.failure else settlement.note
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
    result = retry_until_connected(lambda: result_of(job, task), job._state.db or ledger_alias())
    if what == "finished":
        send_signal("task_finished", sender=sender_of(task), task_result=result)
    else:
        job_retrying.send_robust(sender=sender_of(task), task_result=result)


def sender_of(task: Any) -> type:
    """The sender of the signals about jobs of this task: the class of its backend."""
    return type(task.get_backend())
