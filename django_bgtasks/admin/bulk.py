"""What is done to all jobs that match a filter, by a job: with progress and a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ..core import clock
from ..core.errors import DuplicateJob, GiveUp, InvalidMove
from ..core.retry import Retry
from ..jobs.context import JobContext
from ..jobs.task import task
from ..ledger.history import Actor
from ..models import Job
from . import transitions
from .filters import filtered, frozen

CHUNK_ROWS = 200
ACTIONS: dict[str, transitions.JobAction] = {
    action.name: action for action in (*transitions.TRANSITION_ACTIONS, transitions.DELETE)
}


def enqueue_for_all(action: transitions.JobAction, query: dict[str, str], user: Any) -> UUID:
    """Enqueue the transition, or deletion, of all jobs that match now; the job that does it."""
    call = apply_to_matching.using(owner=user)
    return UUID(call.enqueue(action.name, frozen(query), str(clock.new_id())).id)


def matching(action: transitions.JobAction, query: Mapping[str, str], user: Any) -> QuerySet[Any]:
    """The jobs that match, as this user may search, and with which the action can be done."""
    return filtered(action.rows_of(Job.objects.all()), query, user)


# Safe to run again: what has been changed is not in the state any more that the action takes, and
# what has been deleted is not there.
@task(
    takes_context=True,
    timeout=6 * 3600,
    retry=Retry(max_attempts=3),
    # What was searched for may be a secret.
    sensitive=("query",),
)
def apply_to_matching(
    context: JobContext, name: str, query: dict[str, str], newest: str
) -> dict[str, int]:
    """Apply the action to each job older than `newest` that matches, as the owner of this job.

    Returns how often each outcome was, `refused` for jobs that changed meanwhile. Gives up if
    the owner may not do this (any more).
    """
    action = ACTIONS[name]
    person = _permitted(action, context.job)
    rows = matching(action, query, person).filter(pk__lte=UUID(newest))
    total, done, outcomes = rows.count(), 0, Counter[str]()
    for page in _pages(rows):
        context.progress(done, max(total, done + len(page)), str(action.label))
        outcomes += _outcomes(transitions.actor_of(person, context.job_id), action, page)
        done += len(page)
    context.progress(total, total)
    return dict(outcomes)


def _permitted(action: transitions.JobAction, job: Job) -> Any:
    # An argument could be anybody's choice.
    person: Any = job.owner
    if person is None or not (
        action.permits(person) and person.has_perm("django_bgtasks.view_job")
    ):
        raise GiveUp.of("no_longer_allowed")
    return person


def _pages(rows: QuerySet[Any]) -> Iterator[dict[UUID, str]]:
    """The ids and states, the oldest first, a few at a time: each is seen once, whatever happens
    to it.
    """
    page = rows.order_by("pk").values_list("pk", "state")
    found = dict(page[:CHUNK_ROWS])
    while found:
        yield found
        found = dict(page.filter(pk__gt=max(found))[:CHUNK_ROWS])


def _outcomes(actor: Actor, action: transitions.JobAction, page: dict[UUID, str]) -> Counter[str]:
    if isinstance(action, transitions.ManualTransition):
        return Counter(_outcome(actor, action, job_id) for job_id in page)
    deleted = transitions.delete(actor, page)
    return Counter(deleted=deleted, refused=len(page) - deleted)


def _outcome(actor: Actor, transition: transitions.ManualTransition, job_id: UUID) -> str:
    try:
        return transition.apply(job_id, actor)
    except (InvalidMove, DuplicateJob, Job.DoesNotExist):
        return "refused"
