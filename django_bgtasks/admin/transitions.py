"""What a person may do to a job: the transitions, who may make them, and what they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.errors import DuplicateJob, InvalidMove
from ..core.states import LIVE, State, Transition, WaitsFor
from ..jobs import actions
from ..ledger.batches import SKIP_CODES
from ..ledger.history import Actor
from ..models import Job

REASONS_LISTED = 5


@dataclass(frozen=True)
class JobAction:
    """One thing to do to jobs. warning: what of it cannot be undone.

    of_holders: it is done to jobs that hold a place at a limit or in a sequence only. left_out: by
    the names of fields the values of jobs to which it is not done, whatever their state.
    """

    name: str
    permission: str
    label: Any
    allowed: Collection[State]
    warning: Any = ""
    of_holders: bool = False
    left_out: Mapping[str, Collection[str]] = field(default_factory=dict, hash=False)

    def allows(self, job: Job) -> bool:
        """Whether it can be done to this job now."""
        is_left_out = any(getattr(job, name) in values for name, values in self.left_out.items())
        return (
            job.state in self.allowed
            and not is_left_out
            and not (self.of_holders and job.place is None)
        )

    def rows_of(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Those of these jobs to which it can be done now."""
        rows = rows.filter(state__in=sorted(self.allowed))
        rows = rows.filter(place__isnull=False) if self.of_holders else rows
        for name, values in self.left_out.items():
            rows = rows.exclude(**{f"{name}__in": sorted(values)})
        return rows

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


def _run_anyway(job_id: UUID, actor: Actor) -> str:
    actions.run_job_anyway(job_id, by=actor)
    return "anyway"


def _release(job_id: UUID, actor: Actor) -> str:
    actions.release_sequence(job_id, by=actor)
    return "released"


def _cancel(job_id: UUID, actor: Actor) -> str:
    return actions.cancel_job(job_id, by=actor)


RETRY = ManualTransition(
    "retry",
    "retry_job",
    gettext_lazy("Retry"),
    Transition.RETRY.sources,
    # They follow when what they waited for is retried.
    left_out={"error_code": SKIP_CODES},
    apply=_retry,
)
RUN_NOW = ManualTransition(
    "run-now", "run_job_now", gettext_lazy("Run now"), Transition.PROMOTE.sources, apply=_run_now
)
RUN_ANYWAY = ManualTransition(
    "run-anyway",
    "run_job_now",
    gettext_lazy("Run anyway"),
    Transition.UNBLOCK.sources,
    gettext_lazy("For each job one more may run than its limit or its sequence allows."),
    # What a step would get from the one before it is not there.
    left_out={"waits_for": (WaitsFor.GATE,)},
    apply=_run_anyway,
)
# Who may retry the failed job may also decide that the others go on without it.
RELEASE = ManualTransition(
    "release",
    "retry_job",
    gettext_lazy("Let the sequence go on"),
    frozenset({State.FAILED}),
    of_holders=True,
    apply=_release,
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
TRANSITION_ACTIONS = (RETRY, RUN_NOW, RUN_ANYWAY, RELEASE, CANCEL)


def _done(outcome: str, count: int) -> str:
    """What the user is told of so many jobs."""
    texts = {
        "retried": ngettext("%d job will run again.", "%d jobs will run again.", count),
        "run now": ngettext(
            "%d job will run as soon as a worker is free.",
            "%d jobs will run as soon as a worker is free.",
            count,
        ),
        "anyway": ngettext(
            "%d job no longer waits for its limit: it will run as soon as a worker is free.",
            "%d jobs no longer wait for their limits: they will run as soon as a worker is free.",
            count,
        ),
        "released": ngettext(
            "%d sequence goes on without the job that failed.",
            "%d sequences go on without the jobs that failed.",
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


# What is asked before it is done to jobs that are in this state: the name of the question.
QUESTIONS = {CANCEL.name: ("interrupt", State.RUNNING), RUN_ANYWAY.name: ("anyway", State.BLOCKED)}


def question_about(transition: ManualTransition, job_ids: Iterable[UUID]) -> tuple[str, int] | None:
    """What to ask before, and how many of these jobs it is about; None if there is none."""
    name, state = QUESTIONS.get(transition.name, ("", None))
    rows = transition.rows_of(Job.objects.filter(pk__in=list(job_ids), state=state))
    number = rows.count() if name else 0
    return (name, number) if number else None


def show_refusals(request: HttpRequest, reasons: list[str]) -> None:
    """Tell the user how many were refused, if any, and why; REASONS_LISTED reasons are enough."""
    count = len(reasons)
    start = ngettext("%d job was refused:", "%d jobs were refused:", count) % count
    more = [_("… and %d more.") % (count - REASONS_LISTED)] if count > REASONS_LISTED else []
    if reasons:
        messages.error(request, " ".join([start, *reasons[:REASONS_LISTED], *more]))
