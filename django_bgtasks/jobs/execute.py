"""Step 5: claim the row, run the task, settle the row.

Short jobs are claimed together and settled together: a commit for each would take longer than they
do. Next: backend.get_result and the admin (6 the same row, read).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache, partial
from inspect import iscoroutinefunction
from typing import Any
from uuid import UUID

from asgiref.sync import AsyncToSync, async_to_sync
from django.db import DatabaseError, InternalError, connections, transaction

from ..core import clock
from ..core.current import running
from ..core.errors import ClaimLost, Interruption, TaskNotFound
from ..core.faultpoints import fault_point
from ..core.messages import CRASHES, Reason
from ..core.options import keeps_logs
from ..core.outcomes import (
    Outcome,
    is_expected,
    outcome_of_exception,
    outcome_of_release,
    outcome_of_rollback,
)
from ..core.payload import json_value, redact, redactor
from ..core.retry import DEFAULT_RETRY, Retry, retry_of
from ..core.site_code import is_for_the_process
from ..core.states import FINAL, State, Transition
from ..core.values import COPIED_BY
from ..ledger.connection import retry_until_connected
from ..ledger.database_errors import DISCONNECTED, OUT_OF_SIGHT, was_rolled_back
from ..ledger.lanes import HandedOn
from ..ledger.lifecycle import (
    apply_outcome,
    claim_many,
    holds_claim,
    is_cancelled,
    is_settled,
    lost_claim,
    reflect_outcome,
    settle,
    settle_many,
)
from ..models import Job
from ..sandbox.call import (
    LimitedCoroutine,
    TimeLimit,
    deadline,
    limits_paused,
    on_cancellation,
    run_in_sandbox,
)
from ..sandbox.connections import drop_connections
from ..sandbox.restore import (
    SessionGuard,
    kept_usable,
    refresh_connections,
    refuse_ended_transaction,
)
from ..sandbox.threads import check_threads_of
from ..workflows.results import aarguments_of, arguments_of
from ..workflows.tree import insert_elements
from .carried import carried_of
from .commit_hooks import log_failures_after_commit
from .context import JobContext, context_of, flush_progress
from .enqueue import dispatch_on_commit
from .job_log import JobLog
from .keeper import settle_by_keeper
from .middleware import aentered, entered, middleware_of, report_outcome
from .on_failure import call_on_failure
from .results import announce
from .task import find_task
from .typed import NotToRun
from .waiting import await_start, give_seats, pass_on, put_off_if_late

logger = logging.getLogger("django_bgtasks")
HOLD = timedelta(seconds=30)
BEGIN_AGAIN = timedelta(seconds=1)


@dataclass(eq=False, slots=True)
class Run:
    """One attempt of a claimed job, from its claim to its settlement.

    task: None until it is found. exception: what the attempt raised, until it is settled.
    open: it succeeded, and its outcome is still to be written with those of its group.
    log: what its task logs, if that is kept.
    of_caller: it runs in somebody's own process, who gets what is meant for that: Ctrl-C, say. Who
        has called sees to its next attempt, too, and takes its exception from it.
    """

    job: Job
    using: str
    task: Any = None
    outcome: Outcome = field(init=False)
    exception: BaseException | None = None
    seconds: float = 0.0
    open: bool = False
    of_caller: bool = False
    log: JobLog | None = None
    _context: JobContext | None = None

    @property
    def context(self) -> JobContext:
        """What the task and its middleware see of it; made when somebody asks."""
        if self._context is None:
            self._context = context_of(self.job, self.task, self.using, insert_elements)
        return self._context

    def take_exception(self) -> BaseException | None:
        """What the attempt raised. It refers to the run, and goes with the caller's last use."""
        error, self.exception = self.exception, None
        return error


def claim_jobs(
    job_ids: Sequence[UUID],
    worker: UUID,
    using: str,
    queues: Sequence[str] = (),
    backend: str | None = None,
) -> list[Job]:
    """Claim the jobs of messages. Those that are not there to be claimed are left out.

    queues, backend: those that the worker serves; which list of Redis brought a message says
    nothing. A job waits for it: what the connections need is done before.
    """
    claim = partial(claim_many, job_ids, worker, using, queues, backend)
    jobs = retry_until_connected(claim, using)
    return give_seats(jobs, using) if [job for job in jobs if job.seat is not None] else jobs


def run_claimed(job: Job, using: str, grouped: bool = False, of_caller: bool = False) -> Run | None:
    """Run a job that this worker has claimed, and settle it. None if the claim was lost.

    grouped: a success may be left open, for settle_runs(); see may_stay_open(). of_caller: see Run;
    what is meant for the process is raised, and the job left as claimed.
    """
    if job.seat_taken is not None:
        await_start(job)
    run, start = Run(job, using, of_caller=of_caller), clock.monotonic()
    try:
        if begin_run(run):
            if getattr(run.task, "atomic", False):
                _run_atomic(run)
            else:
                conclude(run, partial(_call_usable, run), grouped)
    except ClaimLost as lost:
        logger.warning("%s", lost)
        return None
    run.seconds = clock.monotonic() - start
    return run


def begin_run(run: Run) -> bool:
    """Find the task and announce the start. False if it is not to run here and now: it is settled.

    Raises ClaimLost.
    """
    job, missing = run.job, None
    try:
        run.task = find_task(job.task)
    except TaskNotFound as error:
        missing = error.reason
    if job.cancel_requested_at is not None:
        _settle(run, Outcome(Transition.CANCEL_RUNNING, charged=False, begun=False))
        return False
    if run.task is None:
        # Not failed: the job runs when the code is there again.
        _settle(run, outcome_of_release(missing, HOLD))
        return False
    keeps_log = getattr(run.task, "log", None)
    if keeps_log or (keeps_log is None and keeps_logs(job.backend)):
        run.log = JobLog(redactor(run.task, job.args, job.kwargs))
    announce("task_started", job, run.task)
    if job.seat_taken is not None:
        put_off_if_late(job, job.seat_taken, run.using)
    return True


def call(run: Run) -> Any:
    """Run the task's function in the sandbox and return what it returns, or raise what it raises.

    It gets JobTimeout after the job's timeout.
    """
    seconds = run.job.timeout
    if _is_coroutine(run.task.func):
        coroutine = LimitedCoroutine(partial(acall, run), seconds)
        return run_in_sandbox(partial(_run_coroutine, coroutine), TimeLimit())
    return run_in_sandbox(partial(_call, run), deadline(seconds))


@lru_cache(maxsize=1024)
def _is_coroutine(func: Any) -> bool:
    return iscoroutinefunction(func)


def _call(run: Run) -> Any:
    # Nobody takes it back: its own context of variables ends with the call.
    running.set(run)
    if run.log is not None or _has_surroundings(run.job):
        with run.log or nullcontext(), entered(run.context):
            return _call_function(run)
    return _call_function(run)


def _call_function(run: Run) -> Any:
    job, task = run.job, run.task
    args, kwargs = arguments_of(run, HOLD) if job.types or job.gate else (job.args, job.kwargs)
    if task.takes_context:
        args = [run.context, *args]
    return task.func(*args, **kwargs)


async def acall(run: Run) -> Any:
    """Await the task's coroutine function, on the event loop that its sandbox has given it."""
    running.set(run)
    if run.log is not None or _has_surroundings(run.job):
        with run.log or nullcontext():
            async with aentered(run.context):
                return await _await_function(run)
    return await _await_function(run)


async def _await_function(run: Run) -> Any:
    job, task = run.job, run.task
    args, kwargs = job.args, job.kwargs
    if job.types or job.gate:
        args, kwargs = await aarguments_of(run, HOLD)
    if task.takes_context:
        args = [run.context, *args]
    return await task.func(*args, **kwargs)


def _has_surroundings(job: Job) -> bool:
    return bool(middleware_of(job.backend) or carried_of(job.backend) or job.carried is not None)


def _run_coroutine(coroutine: LimitedCoroutine) -> Any:
    with on_cancellation(coroutine.cancel):
        return async_to_sync(_run_here)(coroutine)


async def _run_here(coroutine: LimitedCoroutine) -> Any:
    loop = asyncio.get_running_loop()
    # Only on a loop that async_to_sync() has made for it: another one is somebody else's.
    if loop in AsyncToSync.loop_thread_executors:
        check_threads_of(loop)
    return await coroutine.run()


def _call_usable(run: Run) -> Any:
    with kept_usable(run.using):
        return call(run)


def conclude(run: Run, returned: Callable[[], Any], grouped: bool) -> None:
    """Settle what returned() returns or raises, or leave a success open; see run_claimed().

    Raises ClaimLost.
    """
    try:
        value = _stored_result(run.job, returned())
    except BaseException as error:
        _settle_exception(run, error)
        return
    if run.job.seat_taken is not None:
        run.job.seat_taken.ended = clock.monotonic()
    run.outcome = _logged(run, Outcome(Transition.SUCCEED, result=value))
    if grouped and run.outcome.log is None and may_stay_open(run.job):
        run.open = True
    else:
        _settle_success(run)


def _stored_result(job: Job, value: Any) -> Any:
    copied_by = COPIED_BY.get(job.types)
    return json_value(value, "the result", job.task, TypeError, copied_by)


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
    done = [(run.job, run.outcome.result) for run in runs if run.open]
    handed = settle_by_keeper(done) if [run for run in runs if run.job.lane] else HandedOn()
    write = partial(settle_many, [end for end in done if end[0].pk not in handed.settled], using)
    try:
        settled = {*handed.settled, *(retry_until_connected(write, using) if patient else write())}
    except DatabaseError:
        if not patient:
            raise
        # It refuses one of them: this one fails, and the others stand.
        return [run for run in runs if not run.open or _settle_alone(run)]
    ended = [run for run in runs if run.open and run.job.pk in settled]
    if awaited := [run for run in ended if run.job.lane or run.job.rate or run.job.batch]:
        pass_on([(run.job, run.outcome) for run in awaited], using, handed)
    for run in runs:
        if run.open and run.job.pk in settled:
            _tell(run)
        elif run.open:
            logger.warning("%s", lost_claim(run.job))
    return [run for run in runs if not run.open or run.job.pk in settled]


def _settle_alone(run: Run) -> bool:
    """Settle an open run by itself. False if its claim was lost."""
    try:
        _settle_success(run)
    except ClaimLost as lost:
        logger.warning("%s", lost)
        return False
    run.open = False
    return True


def _settle_success(run: Run) -> None:
    """Settle a success; what the database refuses to store is a failure with that error."""
    try:
        _settle(run, run.outcome)
    except DatabaseError as refusal:
        _settle_exception(run, refusal)


def _run_atomic(run: Run) -> None:
    # What is set within a transaction, or by what runs after its commit, is the session's.
    guard = SessionGuard()
    try:
        _commit_together(run)
    finally:
        guard.restore()


def _commit_together(run: Run) -> None:
    """The effects and the settlement commit together, or neither does."""
    job, using = run.job, run.using
    session, outcome = None, None
    try:
        with transaction.atomic(using):
            session = connections[using].connection
            value = _stored_result(job, call(run))
            refuse_ended_transaction(using)
            run.outcome = outcome = _logged(run, Outcome(Transition.SUCCEED, result=value))
            flush_progress(run.context)
            apply_outcome(job, outcome, using)
            log_failures_after_commit(job, using)
    except DISCONNECTED as error:
        if session is None:
            return _settle(run, outcome_of_release(Reason("no_transaction"), BEGIN_AGAIN))
        # A task that swallowed an error of the database has broken its transaction itself.
        its_own = outcome is None or isinstance(error, InternalError)
        if its_own and not was_rolled_back(error, session, using):
            return _settle_exception(run, error)
        return _settle_outcome_of_rollback(run, error, outcome)
    except BaseException as error:
        return _settle_exception(run, error)
    return _follow_up(run)


def _settle_outcome_of_rollback(run: Run, error: BaseException, outcome: Outcome | None) -> None:
    """The database undid the attempt, unless only the answer to its COMMIT was lost.

    outcome: what was to be committed, if the attempt came so far.
    """
    job, using, run.exception = run.job, run.using, error
    drop_connections()
    again = outcome_of_rollback(error, job.attempt, job.max_attempts, job.on_crash, clock.rng)
    if outcome is None:
        return _settle_failure(run, again)
    try:
        if not retry_until_connected(lambda: is_settled(job, outcome, using), using):
            return _settle_failure(run, again)
    except ClaimLost:
        # The COMMIT was still under way when it was looked for: the write has waited for its end.
        if not retry_until_connected(lambda: is_settled(job, outcome, using), using):
            raise
    run.outcome, run.exception = outcome, None
    return _follow_up(run)


def _settle_exception(run: Run, error: BaseException) -> None:
    """Settle an attempt that raised. Called inside the handler: receivers see the exception."""
    job = run.job
    if run.of_caller and is_for_the_process(error):
        raise error
    if isinstance(error, ClaimLost):
        drop_connections()
        if not retry_until_connected(lambda: holds_claim(job, run.using), run.using):
            raise error
        error = RuntimeError(OUT_OF_SIGHT)
    if isinstance(error, NotToRun):
        _settle_failure(run, error.outcome)
        return
    if isinstance(error, Interruption):
        # It may have come in the middle of a query: the connection cannot be trusted.
        drop_connections()
    run.exception = error
    retry: Retry = getattr(run.task, "retry", DEFAULT_RETRY)
    if job.retry is not None:
        retry = retry_of(job.retry, run.task)
    _settle_failure(
        run, outcome_of_exception(error, job.attempt, job.max_attempts, retry, clock.rng)
    )


def _settle_failure(run: Run, outcome: Outcome) -> None:
    """Settle an attempt that did not succeed; a job that was cancelled meanwhile does not go on."""
    job, task, using = run.job, run.task, run.using
    outcome = outcome.redacted(lambda text: redact(text, task, job.args, job.kwargs))
    with limits_paused(job):
        refresh_connections()
        goes_on = outcome.state not in FINAL
        if goes_on and retry_until_connected(lambda: is_cancelled(job, using), using):
            outcome = Outcome(Transition.CANCEL_RUNNING, failure=outcome.failure)
    _settle(run, outcome)


def _settle(run: Run, outcome: Outcome) -> None:
    run.outcome = outcome = _logged(run, outcome)
    with limits_paused(run.job):
        # A task may have left a transaction open on this connection: it would hang in that.
        refresh_connections()
        settle(run.job, outcome, run.using)
    _follow_up(run)


def _logged(run: Run, outcome: Outcome) -> Outcome:
    """The outcome with the lines that the attempt has logged, where they are kept."""
    if run.log is None or outcome.log is not None:
        return outcome
    return replace(outcome, log=run.log.lines())


def _follow_up(run: Run) -> None:
    """After the settlement: let in who waits behind the job, and tell of it."""
    if run.job.lane or run.job.rate or run.job.batch:
        pass_on([(run.job, run.outcome)], run.using)
    _tell(run)


@fault_point("announce")
def _tell(run: Run) -> None:
    """Dispatch what runs again, send the signals, and call the middleware."""
    job, outcome = run.job, run.outcome
    reflect_outcome(job, outcome)
    if job.state in (State.QUEUED, State.BLOCKED) and not run.of_caller:
        dispatch_on_commit([job], run.using)
    if outcome.failure is not None and job.state not in FINAL:
        announce("job_retrying", job, run.task)
    announce_outcome(run)
    if not run.of_caller:
        # Its traceback refers to the run: what the task had in hand would stay until the collector.
        run.exception = None


def announce_outcome(run: Run) -> None:
    """Tell the receivers of task_finished, the middleware and on_failure what an attempt came to.

    Once for each settlement, whoever made it, after reflect_outcome(). Nothing else tells them. A
    job that could not begin and waits again has had no attempt: nobody is told.
    """
    job, task, failure = run.job, run.task, run.outcome.failure
    if job.state in FINAL:
        calm = failure is not None and is_expected(task, failure, run.exception)
        announce("task_finished", job, task, level=logging.WARNING if calm else None)
    if run.outcome.hold is None and middleware_of(job.backend):
        report_outcome(run.context, run.outcome, run.exception)
    if job.state == State.FAILED and getattr(task, "on_failure", None):
        call_on_failure(run.context, run.outcome, run.exception)
