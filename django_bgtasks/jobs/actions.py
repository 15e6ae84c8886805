"""What people do to a job, from the admin, a view or a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from uuid import UUID

from django.db import connections

from ..core.options import backend_settings, default_backend
from ..core.states import WAITING, State
from ..ledger import history, prune, queues, transitions
from ..ledger.admission import LANE, RATE
from ..ledger.connection import in_transaction
from ..ledger.history import Actor
from ..ledger.lanes import keys_of_queue, take_places
from ..ledger.lifecycle import ledger_database
from ..models import HistoryVerb, Job, QueuePause
from ..workflows.followers import follow
from .discovery import try_to_discover
from .enqueue import admit_next, admit_now, dispatch_on_commit
from .inline import run_again_on_commit

# Who does it, for the history; of a name alone the site's own code speaks.
By = Actor | str | None


def get_job(job_id: UUID | str, using: str | None = None) -> Job:
    """The row of a job; Job.DoesNotExist if there is none."""
    return Job.objects.using(using or ledger_database()).get(pk=job_id)


def retry_job(job_id: UUID | str, using: str | None = None, by: By = None) -> Job:
    """Queue a failed or cancelled job again, for at least one more attempt.

    by: who wants it, for the history; None writes nothing there. That is so for each of these.
    Raises InvalidMove, DuplicateJob when another live job holds its dedup key, Job.DoesNotExist.
    """
    using = using or ledger_database()
    # Of a task that has been renamed, its aliases say which key it takes again.
    try_to_discover()

    def retry() -> tuple[HistoryVerb, Job]:
        job = transitions.retry(_uuid(job_id), using)
        run_again_on_commit(job, using)
        return HistoryVerb.RETRIED, job

    return _recorded(retry, by, using)[1]


def cancel_job(job_id: UUID | str, using: str | None = None, by: By = None) -> str:
    """Cancel a job: "cancelled" if it had not started, "requested" if its worker must stop it.

    A running task gets JobCancelled within about a second, and is killed if it goes on.
    Raises InvalidMove for a job that is final, Job.DoesNotExist.
    """
    using = using or ledger_database()

    def cancel() -> tuple[HistoryVerb, Job]:
        job = transitions.cancel(_uuid(job_id), using)
        ended = job.state == State.CANCELLED
        if ended:
            admit_next([job], using)
            follow([job], using)
        return HistoryVerb.CANCELLED if ended else HistoryVerb.ASKED_TO_STOP, job

    verb, _job = _recorded(cancel, by, using)
    return "cancelled" if verb is HistoryVerb.CANCELLED else "requested"


def run_job_now(job_id: UUID | str, using: str | None = None, by: By = None) -> Job:
    """Queue a scheduled job now; with a limit or a sequence it waits for its place.

    Raises InvalidMove when it is not scheduled, Job.DoesNotExist.
    """
    using = using or ledger_database()

    def run() -> tuple[HistoryVerb, Job]:
        job = transitions.run_now(_uuid(job_id), using)
        run_again_on_commit(job, using)
        return HistoryVerb.RUN_NOW, job

    return _recorded(run, by, using)[1]


def run_job_anyway(job_id: UUID | str, using: str | None = None, by: By = None) -> Job:
    """Queue a job that waits for a place at its limit or in its sequence, without a place.

    One more than the limit allows may run then. Raises InvalidMove when the job does not wait,
    Job.DoesNotExist.
    """
    using = using or ledger_database()

    def run() -> tuple[HistoryVerb, Job]:
        job = transitions.run_anyway(_uuid(job_id), using)
        dispatch_on_commit([job], using)
        # Who has looked while it was being moved has found it locked.
        admit_next([job], using)
        return HistoryVerb.RUN_ANYWAY, job

    return _recorded(run, by, using)[1]


def release_sequence(job_id: UUID | str, using: str | None = None, by: By = None) -> Job:
    """Let a sequence go on that waits behind this job, which has failed: the next one begins.

    Raises InvalidMove when the job holds no sequence, Job.DoesNotExist.
    """
    using = using or ledger_database()

    def release() -> tuple[HistoryVerb, Job]:
        job = transitions.release_place(_uuid(job_id), using)
        admit_next([job], using)
        return HistoryVerb.SEQUENCE_RELEASED, job

    return _recorded(release, by, using)[1]


def delete_jobs(seen: Mapping[UUID, str], using: str | None = None, by: By = None) -> list[Job]:
    """Delete those of these jobs that do not run and are still in the state in which they were
    seen: one that somebody has retried meanwhile stays. Returns what they were.
    """
    using = using or ledger_database()

    def delete() -> list[Job]:
        jobs = prune.delete_seen_jobs(seen, using)
        admit_next(jobs, using)
        follow([job for job in jobs if job.state in WAITING], using)
        if actor := acting(by):
            history.record_jobs(HistoryVerb.DELETED, actor, jobs, using)
        return jobs

    return in_transaction(delete, using)


def pause_queue(queue: str, backend: str | None = None, by: By = None) -> QueuePause | None:
    """Pause a queue: within two seconds no worker begins a job of it any more; what runs goes on.

    backend: its name in TASKS. by: who did it. None if it was paused before.
    """
    using, known, actor = ledger_database(), _known(backend), acting(by)

    def pause() -> QueuePause | None:
        row = queues.pause(queue, known, actor.name if actor else "", using)
        admit_next(take_places(queue, known, using), using)
        if row is not None and actor is not None:
            history.record(HistoryVerb.PAUSED, actor, [{"queue": queue}], using)
        return row

    return in_transaction(pause, using)


def resume_queue(queue: str, backend: str | None = None, by: By = None) -> QueuePause | None:
    """Let a paused queue go on, within two seconds. None if it was not paused."""
    using, known, actor = ledger_database(), _known(backend), acting(by)

    def resume() -> QueuePause | None:
        row = queues.resume(queue, known, using)
        connections[using].on_commit(partial(_admit_queue, queue, known, using), robust=True)
        if row is not None and actor is not None:
            history.record(HistoryVerb.RESUMED, actor, [{"queue": queue}], using)
        return row

    return in_transaction(resume, using)


def _admit_queue(queue: str, backend: str, using: str) -> None:
    lanes, rates = (keys_of_queue(kind, queue, backend, using) for kind in (LANE, RATE))
    if lanes or rates:
        admit_now(lanes, rates, using)


def _recorded(
    act: Callable[[], tuple[HistoryVerb, Job]], by: By, using: str
) -> tuple[HistoryVerb, Job]:
    """Do it, and write it into the history: both or neither."""
    actor = acting(by)
    if actor is None:
        return act()

    def act_and_record() -> tuple[HistoryVerb, Job]:
        verb, job = act()
        history.record_jobs(verb, actor, [job], using)
        return verb, job

    return in_transaction(act_and_record, using)


def acting(by: By) -> Actor | None:
    """Who that is; None if nobody said it."""
    return by if isinstance(by, Actor) else Actor(by) if by else None


def _known(backend: str | None) -> str:
    return backend_settings(backend or default_backend()).backend


def _uuid(job_id: UUID | str) -> UUID:
    return job_id if isinstance(job_id, UUID) else UUID(job_id)
