"""What is done to all jobs that match a filter, by a job: with progress and a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from ..core import clock
from ..core.errors import DuplicateJob, GiveUp, InvalidMove
from ..core.retry import Retry
from ..jobs.context import JobContext
from ..jobs.task import task
from ..models import Job
from . import transitions
from .queries import NARROWINGS, narrowed

CHUNK = 200
BY_NAME: dict[str, transitions.Act] = {
    act.name: act for act in (*transitions.ALL, transitions.DELETE)
}


def do_to_all(act: transitions.Act, chosen: dict[str, str], user: Any) -> UUID:
    """Enqueue the move, or deletion, of all jobs that match now; the job that does it."""
    known = {name: value for name, value in chosen.items() if name in NARROWINGS}
    call = move_matching.using(owner=user)
    return UUID(call.enqueue(act.name, known, str(user.pk), str(clock.new_id())).id)


# Safe to run again: what has been moved is not in the state any more that the move takes, and
# what has been deleted is not there.
@task(takes_context=True, timeout=6 * 3600, retry=Retry(max_attempts=3))
def move_matching(
    context: JobContext, move: str, chosen: dict[str, str], user: str, newest: str
) -> dict[str, int]:
    """Make a move of each job older than `newest` that matches, or delete it, as this user.

    Returns how often each outcome was, `refused` for jobs that changed meanwhile. Gives up if
    the user may not do this (any more).
    """
    making, person = BY_NAME[move], _permitted(BY_NAME[move], user)
    rows = narrowed(Job.objects.filter(state__in=sorted(making.allowed)), chosen)
    rows = rows.filter(pk__lte=UUID(newest))
    total, done, outcomes = rows.count(), 0, Counter[str]()
    for page in _pages(rows):
        context.progress(done, max(total, done + len(page)), str(making.label))
        outcomes += _outcomes(person, making, page)
        done += len(page)
    context.progress(total, total)
    return dict(outcomes)


def _permitted(act: transitions.Act, pk: str) -> Any:
    person = get_user_model()._default_manager.filter(pk=pk).first()
    if person is None or not (act.permits(person) and person.has_perm("django_bgtasks.view_job")):
        raise GiveUp.of("no_longer_allowed")
    return person


def _pages(rows: QuerySet[Any]) -> Iterator[dict[UUID, str]]:
    """The ids and states, the oldest first, a few at a time: each is seen once, whatever happens
    to it.
    """
    page = rows.order_by("pk").values_list("pk", "state")
    found = dict(page[:CHUNK])
    while found:
        yield found
        found = dict(page.filter(pk__gt=max(found))[:CHUNK])


def _outcomes(person: Any, act: transitions.Act, page: dict[UUID, str]) -> Counter[str]:
    if isinstance(act, transitions.Move):
        return Counter(_outcome(person, act, job_id) for job_id in page)
    gone = transitions.delete(person, page)
    return Counter(deleted=gone, refused=len(page) - gone)


def _outcome(person: Any, move: transitions.Move, job_id: UUID) -> str:
    try:
        return transitions.perform_one(person, move, job_id)
    except (InvalidMove, DuplicateJob, Job.DoesNotExist):
        return "refused"
