"""Jobs that run in the process that enqueues them, after its commit: no message, and no worker.

A job is claimed as by a worker, so that only one of the two runs it. Its retries without a delay
follow at once; whatever is for later waits in the ledger, where a worker finds it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from uuid import UUID

from django.core.cache import caches
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, connections, transaction

from ..core import clock
from ..core.compat import TaskResultDoesNotExist
from ..core.current import is_worker
from ..core.errors import ClaimLost, Interruption
from ..core.messages import Reason
from ..core.options import backend_of, backend_settings
from ..core.outcomes import Failure, outcome_of_interruption
from ..core.payload import printable
from ..core.states import State
from ..ledger.connection import session_of
from ..ledger.lifecycle import claim, ledger_database, reflect_outcome, settle
from ..ledger.queues import paused_by
from ..ledger.transitions import promote_if_due
from ..ledger.workers import INLINE_WORKER
from ..models import Job
from ..sandbox.call import interrupt_overdue, limits_held
from .enqueue import RUN_INLINE, dispatch_on_commit, enqueue, fresh_context
from .enqueue_many import enqueue_many
from .execute import Run, announce_outcome, run_claimed
from .expiry import expire_jobs
from .keeper import Ready
from .results import JobResult
from .task import forced_inline, known_task
from .waiting import pass_on

logger = logging.getLogger("django_bgtasks")
# A job that a job enqueues runs within it. Deeper than this it runs when the others have ended: a
# chain of jobs must not use up Python's stack.
DEEPEST = 10
LOOK_EVERY = 0.2
# What may come of a look at a job that has run: it may have deleted its own row.
NO_ROW = (ObjectDoesNotExist, TaskResultDoesNotExist)
INTERRUPTED = "The process in which it ran inline was interrupted."
# A job, and what brings the caller's object up to date when it has run.
Call = tuple[Job, Callable[[], Any]]


class _Here(threading.local):
    """Of each thread: how many jobs run here, one within another, and what is left to run."""

    def __init__(self) -> None:
        self.depth = 0
        self.later: deque[Call] = deque()


_here = _Here()
# Of the jobs that enqueue_at_once() runs, the very objects that it was given as arguments: what was
# written for a queue that passes these on in its tests may look at them afterwards.
passed_calls: dict[UUID, tuple[Sequence[Any], Mapping[str, Any]]] = {}


def enqueue_inline(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], django_task: Any
) -> JobResult[Any]:
    """enqueue(), and run the job after the commit. The result is brought up to date then."""
    result = enqueue(task, args, kwargs, django_task)
    run_on_commit([(result.job, result.refresh)], ledger_database())
    return result


def enqueue_at_once(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> JobResult[Any]:
    """enqueue(), and run the job before this returns, within the caller's transaction if there is
    one: for the tests of what was written for a queue without transactions.
    """
    result, claims = enqueue(task.using(inline=True), args, kwargs, task), -1
    passed_calls[result.job.pk] = args, kwargs
    try:
        # A job that has asked for another run now has been claimed; that of a paused queue has not.
        while result.job.state == State.QUEUED and result.job.claims > claims:
            claims = result.job.claims
            _run_after_commit([(result.job, result.refresh)], ledger_database())
    finally:
        del passed_calls[result.job.pk]
    return result


def enqueue_many_inline(
    task: Any, calls: Iterable[Any], django_task: Any
) -> Sequence[JobResult[Any]]:
    """enqueue_many(), and run the jobs in their order after the commit; see enqueue_inline()."""
    results = list(enqueue_many(task, calls, django_task))
    run_on_commit([(result.job, result.refresh) for result in results], ledger_database())
    return results


def run_again_on_commit(job: Job, using: str) -> None:
    """A job is queued once more by a person: run it inline or send it to the workers."""
    # What waits for a place is let in by others, and run by workers.
    if _is_here(job) and job.state != State.BLOCKED:
        run_on_commit([(job, partial(job.refresh_from_db, using=using))], using)
    else:
        dispatch_on_commit([job], using)


def _is_here(job: Job) -> bool:
    """Whether it is inline that this job is to run."""
    if forced_inline or is_worker():
        return bool(forced_inline)
    home = backend_of(job.backend)
    return home is not None and backend_settings(home).options.is_inline


def run_ready(jobs: Ready) -> Ready:
    """Run those of these jobs here that follow in a workflow of inline jobs. Returns the others."""
    here = [job for job in jobs if isinstance(job, Job) and _is_here(job)]
    if not here:
        return jobs
    using = ledger_database()
    calls: list[Call] = [(job, partial(job.refresh_from_db, using=using)) for job in here]
    if _here.depth:
        # When the one that runs has ended: what they raise reaches who has enqueued them all.
        _here.later.extend(calls)
    else:
        _run_after_commit(calls, using)
    return [job for job in jobs if job not in here]


RUN_INLINE.append(run_ready)


def run_on_commit(calls: Sequence[Call], using: str) -> None:
    """Run those of these jobs here that are due, after the commit of the current transaction.

    What they raise is settled. It is raised only where the test kit wants that.
    """
    waiting = [call for call in calls if call[0].state in (State.QUEUED, State.SCHEDULED)]
    if waiting:
        transaction.on_commit(partial(_run_after_commit, waiting, using), using=using)


def _run_after_commit(calls: Sequence[Call], using: str) -> None:
    """Run them. What keeps them from it is logged, as all is committed: workers find them.

    By ourselves, for Django would keep from a job, too, in whose time they run, that this is up.
    """
    try:
        _run_all(calls, using)
    except Interruption:
        raise
    except Exception:
        if forced_inline and forced_inline[-1]:
            raise
        logger.exception("Jobs that were to run inline are left to workers.")


def _run_all(calls: Sequence[Call], using: str) -> None:
    if _here.depth >= DEEPEST:
        _here.later.extend(calls)
        return
    _here.depth += 1
    errors: list[BaseException] = []
    rest = deque(calls)
    try:
        while rest:
            with limits_held():
                errors += _run_call(rest.popleft(), using)
            if _here.depth == 1 and not rest:
                rest, _here.later = _here.later, deque()
    except BaseException:
        # Ctrl-C, or the database is away: what has not begun is left to others.
        if _here.depth == 1:
            rest.extend(_here.later)
            _here.later.clear()
        for job, _ in rest:
            dispatch_on_commit([job], using)
        raise
    finally:
        _here.depth -= 1
    if errors and forced_inline and forced_inline[-1]:
        raise errors[0]


def _run_call(call: Call, using: str) -> list[BaseException]:
    """Run the job of a call, if it is there to be claimed. Returns what its last attempt raised."""
    job, refresh = call
    error = None
    if job.state == State.SCHEDULED and not promote_if_due(job.pk, using):
        return []
    if job.queue in paused_by(job.backend, using):
        logger.warning("%s waits: its queue %s is paused.", _name(job), printable(job.queue))
        dispatch_on_commit([job], using)
    else:
        error = _run_attempts(job, using)
    with suppress(*NO_ROW):
        refresh()
    return [error] if error is not None else []


def _run_attempts(job: Job, using: str) -> BaseException | None:
    claimed = claim(job.pk, INLINE_WORKER, using)
    if claimed is None and not _has_expired(job, using):
        logger.info("%s was to run inline, and somebody else has it.", _name(job))
    while claimed is not None:
        run = _run(claimed, using)
        if run is None:
            return None
        error = run.take_exception()
        if claimed.is_final or claimed.state != State.QUEUED or not run.outcome.retries:
            if not claimed.is_final:
                logger.info("%s waits for its next attempt, which is a worker's.", _name(job))
                dispatch_on_commit([claimed], using)
            return error if run.outcome.failure is not None else None
        claimed = claim(job.pk, INLINE_WORKER, using)
    return None


def _has_expired(job: Job, using: str) -> bool:
    """Cancel the job if it was to begin by now: there may be no worker who would."""
    expire = partial(expire_jobs, 1, using, job.pk)
    return job.expires_at is not None and bool(fresh_context().run(expire))


def _run(job: Job, using: str) -> Run | None:
    """Run a claimed job as a worker does: nothing of the caller's context reaches it."""
    context = fresh_context()
    with _caller_undisturbed(), _watched(job.timeout):
        try:
            return context.run(run_claimed, job, using, of_caller=True)
        except BaseException:
            settle_interrupted(job, INTERRUPTED, using)
            dispatch_on_commit([job], using)
            raise
        finally:
            # As at the end of a request: the job had caches of its own.
            context.run(caches.close_all)


def settle_interrupted(job: Job, words: str, using: str) -> None:
    """Leave no job claimed by a process that goes on with something else. words: what happened."""
    outcome = outcome_of_interruption(
        Failure.of("crash", Reason("other", {"words": words})), job.on_crash
    )
    # In a transaction that is broken nothing can be written, and nothing will be committed.
    with suppress(DatabaseError, ClaimLost):
        settle(job, outcome, using)
        pass_on([(job, outcome)], using)
        reflect_outcome(job, outcome)
        run = Run(job, using, known_task(job.task))
        run.outcome = outcome
        announce_outcome(run)


@contextmanager
def _caller_undisturbed() -> Iterator[None]:
    """Leave the caller's connections as old, and their sessions as used and set, as they were."""
    before = [
        (session, session.driver, session.used, session.sent, session.sets)
        for session in map(session_of, connections.all(initialized_only=True))
    ]
    for session, *_ in before:
        # What the caller has set is not the job's, and is not to end with it.
        session.driver = None
    try:
        yield
    finally:
        for session, driver, used, sent, sets in before:
            session.driver = session.driver or driver
            session.used, session.sent = session.used or used, session.sent or sent
            session.sets = session.sets or sets
        for connection in connections.all(initialized_only=True):
            # The sandbox keeps such a connection for the next job; here it is for one request.
            if connection.settings_dict["CONN_MAX_AGE"] == 0 and connection.close_at is None:
                connection.close_at = clock.monotonic()


@contextmanager
def _watched(seconds: float) -> Iterator[None]:
    """In a thread no signal ends the time of a job: another thread has to look at the clock."""
    if threading.current_thread() is threading.main_thread():
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        pause = seconds
        while not ended.wait(pause):
            interrupt_overdue()
            pause = LOOK_EVERY

    threading.Thread(target=watch, name="bgtasks-inline-timeout", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _name(job: Job) -> str:
    return f"Job {job.pk} ({printable(job.task)})"
