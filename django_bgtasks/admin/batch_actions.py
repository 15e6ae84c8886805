"""What is done to a workflow, or a part of one: it is cancelled, and what failed is retried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http import HttpResponseRedirect as Redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.errors import DuplicateJob, GiveUp, InvalidMove
from ..core.retry import Retry
from ..core.states import WAITING, State, Transition
from ..jobs.context import JobContext
from ..jobs.task import task
from ..ledger.batches import SKIP_CODES
from ..ledger.history import Actor
from ..models import Batch, Job
from ..workflows import actions
from ..workflows.progress import count_states, parts_of
from . import formatting as show
from .listing import WatchedAdmin
from .selection import CONFIRMED, PAGE_LIMIT
from .transitions import actor_of


@dataclass(frozen=True)
class BatchAction:
    """One thing to do to a batch. warning: what of it cannot be undone.

    allows: whether it can be done to this one now. apply: does it for somebody, and returns to how
    many jobs.
    """

    name: str
    permission: str
    label: Any
    allows: Callable[[Batch], bool]
    apply: Callable[[UUID, Actor], int]
    warning: Any = ""

    def permits(self, user: Any) -> bool:
        """Whether this user may do it."""
        return bool(user.has_perm(f"{Batch._meta.app_label}.{self.permission}"))


def _cancel(batch_id: UUID, actor: Actor) -> int:
    return actions.cancel_batch(batch_id, by=actor)


def _retry(batch_id: UUID, actor: Actor) -> int:
    return actions.retry_batch(batch_id, by=actor)


CANCEL_BATCH = BatchAction(
    "cancel",
    "cancel_batch",
    gettext_lazy("Cancel"),
    lambda batch: batch.finished_at is None and batch.cancelled_at is None,
    _cancel,
    gettext_lazy("Jobs that are running are interrupted: that cannot be undone."),
)
RETRY_BATCH = BatchAction(
    "retry",
    "retry_batch",
    gettext_lazy("Retry failed"),
    lambda batch: batch.failed_at is not None or batch.cancelled_at is not None,
    _retry,
)
BATCH_ACTIONS = {action.name: action for action in (RETRY_BATCH, CANCEL_BATCH)}


class BatchActions(WatchedAdmin):
    """Each with its own permission, each in the history, and none without a question."""

    def get_urls(self) -> list[URLPattern]:
        """Django's, and one address for each action, which only answers POST."""
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<uuid:object_id>/{action.name}/",
                self.admin_site.admin_view(self.action_view),
                {"action": action},
                name=f"{prefix}_{action.name}",
            )
            for action in BATCH_ACTIONS.values()
        ]
        return [*own, *super().get_urls()]

    def batch_buttons(self, request: HttpRequest, batch: Batch) -> list[dict[str, Any]]:
        """What this user may do to this batch, and can be done to it now."""
        return [
            {"label": action.label, "name": action.name, "url": self._url(action.name, batch.pk)}
            for action in BATCH_ACTIONS.values()
            if self._may(action, request) and action.allows(batch)
        ]

    def action_view(
        self, request: HttpRequest, object_id: UUID, action: BatchAction
    ) -> HttpResponse:
        """Ask, then do it, and return to the page; for very many jobs a background job does it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may(action, request):
            raise PermissionDenied
        batch = Batch.objects.filter(pk=object_id).first()
        if batch is None:
            raise Http404(_("There is no such workflow."))
        waiting, running, ended = _numbers(batch)
        number = ended if action is RETRY_BATCH else waiting + running
        in_background = number > PAGE_LIMIT
        if CONFIRMED not in request.POST:
            values = {"waiting": waiting, "running": running, "ended": ended}
            return self._ask(request, action, batch, in_background=in_background, **values)
        if in_background:
            job_id = apply_to_batch.using(owner=request.user).enqueue(action.name, str(batch.pk)).id
            messages.success(
                request, _("A background job does this. Its page shows how far it is.")
            )
            page = show.page_of(self.admin_site.name, Job, UUID(job_id))
            return Redirect(page or self._url("change", batch.pk))
        try:
            _say(request, action, action.apply(batch.pk, actor_of(request.user)))
        except (InvalidMove, DuplicateJob) as refusal:
            messages.error(request, str(refusal))
        return Redirect(self._url("change", batch.pk))

    def _ask(
        self, request: HttpRequest, action: BatchAction, batch: Batch, **values: Any
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.page_context(request, _("Are you sure?")),
            "action": action,
            "original": batch,
            "fields": [(CONFIRMED, "yes")],
            **values,
        }
        return TemplateResponse(request, "admin/django_bgtasks/batch/ask.html", context)

    def _may(self, action: BatchAction, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and action.permits(request.user)

    def _url(self, name: str, pk: UUID) -> str:
        full = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full, args=(pk,), current_app=self.admin_site.name)


# Safe to run again: what has been retried, or has ended, is not found any more.
@task(takes_context=True, timeout=6 * 3600, retry=Retry(max_attempts=3))
def apply_to_batch(context: JobContext, name: str, batch_id: str) -> int:
    """Apply the action to a batch, as the owner of this job. Returns to how many jobs.

    Gives up if the owner may not do this (any more).
    """
    action, person = BATCH_ACTIONS[name], context.job.owner
    if person is None or not (
        action.permits(person) and person.has_perm("django_bgtasks.view_batch")
    ):
        raise GiveUp.of("no_longer_allowed")
    try:
        return action.apply(UUID(batch_id), actor_of(person, context.job_id))
    except InvalidMove:
        # It is over by now.
        return 0


def _numbers(batch: Batch) -> tuple[int, int, int]:
    """How many jobs wait, run, and have ended so that they can be retried."""
    using = batch._state.db or "default"
    states = count_states([batch.pk], using).get(batch.pk, {})
    waiting = sum(states.get(state, 0) for state in WAITING)
    ended = Job.objects.using(using).filter(
        batch__in=parts_of(batch, using), state__in=Transition.RETRY.sources
    )
    number = ended.exclude(error_code__in=SKIP_CODES).order_by().count()
    return waiting, states.get(State.RUNNING, 0), number


def _say(request: HttpRequest, action: BatchAction, number: int) -> None:
    if action is RETRY_BATCH:
        text = ngettext("%d job will run again.", "%d jobs will run again.", number)
    else:
        text = ngettext(
            "%d job was cancelled or asked to stop.",
            "%d jobs were cancelled or asked to stop.",
            number,
        )
    messages.success(request, text % number)
