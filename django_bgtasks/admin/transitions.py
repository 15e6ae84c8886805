"""What a person may do to a job: the transitions, who may make them, and what they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.errors import DuplicateJob, InvalidMove
from ..core.states import LIVE, State, Transition
from ..jobs import actions
from ..ledger.history import Actor
from ..models import Job

REASONS_LISTED = 5


@dataclass(frozen=True)
class JobAction:
    """One thing to do to jobs. warning: what of it cannot be undone."""

    name: str
    permission: str
    label: Any
    allowed: Collection[State]
    warning: Any = ""

    def allows(self, state: str) -> bool:
        """Whether it can be done to a job in this state."""
        return state in self.allowed

    def permits(self, user: Any) -> bool:
        """Whether this user may do it."""
        return bool(user.has_perm(f"{Job._meta.app_label}.{self.permission}"))


@dataclass(frozen=True)
class ManualTransition(JobAction):
    """What takes a job to another state.

    apply: does it for somebody and returns what became of it, a key of DONE.
    """

    apply: Callable[[UUID, Actor], str] = field(kw_only=True)


def _retry(job_id: UUID, actor: Actor) -> str:
    actions.retry_job(job_id, by=actor)
    return "retried"


def _run_now(job_id: UUID, actor: Actor) -> str:
    actions.run_job_now(job_id, by=actor)
    return "run now"


def _cancel(job_id: UUID, actor: Actor) -> str:
    return actions.cancel_job(job_id, by=actor)


RETRY = ManualTransition(
    "retry", "retry_job", gettext_lazy("Retry"), Transition.RETRY.sources, apply=_retry
)
RUN_NOW = ManualTransition(
    "run-now", "run_job_now", gettext_lazy("Run now"), Transition.PROMOTE.sources, apply=_run_now
)
CANCEL = ManualTransition(
    "cancel",
    "cancel_job",
    gettext_lazy("Cancel"),
    LIVE,
    gettext_lazy("Jobs that are running are interrupted: that cannot be undone."),
    apply=_cancel,
)
DELETE = JobAction(
    "delete",
    "delete_job",
    gettext_lazy("Delete"),
    frozenset(State) - {State.RUNNING},
    gettext_lazy("This cannot be undone. Jobs that are running stay."),
)
TRANSITION_ACTIONS = (RETRY, RUN_NOW, CANCEL)


def _done(outcome: str, count: int) -> str:
    """What the user is told of so many jobs."""
    texts = {
        "retried": ngettext("%d job will run again.", "%d jobs will run again.", count),
        "run now": ngettext(
            "%d job will run as soon as a worker is free.",
            "%d jobs will run as soon as a worker is free.",
            count,
        ),
        "cancelled": ngettext("%d job was cancelled.", "%d jobs were cancelled.", count),
        "requested": ngettext(
            "%d job is running: it was asked to stop.",
            "%d jobs are running: they were asked to stop.",
            count,
        ),
    }
    return texts[outcome] % count


def apply_to_jobs(
    request: HttpRequest, transition: ManualTransition, job_ids: Iterable[UUID]
) -> None:
    """Make the transition of each job, and tell the user what became of them."""
    outcomes, refusals, actor = Counter[str](), [], actor_of(request.user)
    for job_id in job_ids:
        try:
            outcomes[transition.apply(job_id, actor)] += 1
        except (InvalidMove, DuplicateJob) as refusal:
            refusals.append(str(refusal))
        except Job.DoesNotExist:
            refusals.append(_("Job %s no longer exists.") % job_id)
    for outcome, count in outcomes.items():
        messages.success(request, _done(outcome, count))
    show_refusals(request, refusals)


def actor_of(user: Any, source: UUID | None = None) -> Actor:
    """A user of the admin, for the history. source: the job that acts for them."""
    return Actor(user.get_username(), "admin", source)


def delete(actor: Actor, seen: Mapping[UUID, str]) -> int:
    """Delete those of these jobs that are as they were seen, with their entries in the history;
    how many.
    """
    return len(actions.delete_jobs(seen, by=actor))


def running_count(transition: ManualTransition, job_ids: Iterable[UUID]) -> int:
    """How many of these jobs run, and would be interrupted."""
    if transition is not CANCEL:
        return 0
    return Job.objects.filter(pk__in=list(job_ids), state=State.RUNNING).count()


def show_refusals(request: HttpRequest, reasons: list[str]) -> None:
    """Tell the user how many were refused, if any, and why; REASONS_LISTED reasons are enough."""
    count = len(reasons)
    start = ngettext("%d job was refused:", "%d jobs were refused:", count) % count
    more = [_("… and %d more.") % (count - REASONS_LISTED)] if count > REASONS_LISTED else []
    if reasons:
        messages.error(request, " ".join([start, *reasons[:REASONS_LISTED], *more]))
