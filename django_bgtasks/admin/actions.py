"""What is done to jobs: actions of the job list, buttons of a job's page, and their deletion."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partialmethod
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.states import State, in_words
from ..jobs.actions import delete_jobs
from ..models import Job
from . import transitions
from .selection import JobSelection

# The filters by more than a state, and the state that decides what may be done to their jobs.
PARTS = {
    "retrying": State.SCHEDULED,
    "held": State.SCHEDULED,
    "expired": State.CANCELLED,
    "skipped": State.CANCELLED,
    "waits": State.BLOCKED,
    "step": State.BLOCKED,
    "holding": State.FAILED,
}


class JobActions(JobSelection):
    """Retry, cancel, run now and delete, and what is done to jobs that wait at a limit, or hold a
    sequence: each with its own permission, each in the history.

    A job that runs is not deleted.
    """

    actions = (
        *("retry_selected", "run_now_selected", "run_anyway_selected", "release_selected"),
        *("cancel_selected", "delete_selected"),
    )

    @admin.action(permissions=["retry"], description=gettext_lazy("Retry selected jobs"))
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        return self._perform(request, transitions.RETRY, queryset)

    @admin.action(permissions=["run_now"], description=gettext_lazy("Run selected jobs now"))
    def run_now_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        return self._perform(request, transitions.RUN_NOW, queryset)

    @admin.action(
        permissions=["run_now"], description=gettext_lazy("Run selected jobs whatever their limits")
    )
    def run_anyway_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        return self._perform(request, transitions.RUN_ANYWAY, queryset)

    @admin.action(
        permissions=["retry"],
        description=gettext_lazy("Let the sequences of selected failed jobs go on"),
    )
    def release_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        return self._perform(request, transitions.RELEASE, queryset)

    @admin.action(permissions=["cancel"], description=gettext_lazy("Cancel selected jobs"))
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        return self._perform(request, transitions.CANCEL, queryset)

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete selected jobs"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Django's own; of all that match, if they are many, in the background."""
        if self._is_for_many(request, queryset):
            return self._apply_to_all(request, transitions.DELETE)
        selected = queryset.filter(pk__in=self._selected_ids(queryset))
        running = selected.filter(state=State.RUNNING)
        refusals = [refusal(pk, State.RUNNING) for pk in running.values_list("pk", flat=True)]
        transitions.show_refusals(request, refusals)
        idle = selected.exclude(state=State.RUNNING)
        return delete_selected(self, request, idle) if idle.exists() else None

    def _may(self, action: transitions.JobAction, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and action.permits(request.user)

    has_retry_permission = partialmethod(_may, transitions.RETRY)
    has_run_now_permission = partialmethod(_may, transitions.RUN_NOW)
    has_cancel_permission = partialmethod(_may, transitions.CANCEL)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's own confirmation; a running job is to be cancelled first."""
        job: Any = self.get_object(request, object_id)
        if job and job.state == State.RUNNING and self.has_delete_permission(request):
            messages.error(request, refusal(job.pk, job.state))
            return HttpResponseRedirect(self._page(request, job.pk))
        return super().delete_view(request, object_id, extra_context)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one job, unless it has started or was retried meanwhile."""
        self._delete(request, {obj.pk: obj.state}, router.db_for_write(Job))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the jobs that do not run, whatever they did when the page was shown."""
        self._delete(request, dict(queryset.values_list("pk", "state")), queryset.db)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[Any]:
        """Nothing: the deletion writes its own entry into the history."""
        return []

    def get_urls(self) -> list[URLPattern]:
        """Django's, and one address for each transition, which only answers POST."""
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<uuid:object_id>/{transition.name}/",
                self.admin_site.admin_view(self.transition_view),
                {"transition": transition},
                name=f"{prefix}_{transition.name}",
            )
            for transition in transitions.TRANSITION_ACTIONS
        ]
        return [*own, *super().get_urls()]

    def transition_view(
        self, request: HttpRequest, object_id: UUID, transition: transitions.ManualTransition
    ) -> HttpResponse:
        """Make one transition of one job and return to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may(transition, request):
            raise PermissionDenied
        job = Job.objects.filter(pk=object_id).first()
        if question := self._question(request, transition, [object_id], original=job):
            return question
        transitions.apply_to_jobs(request, transition, [object_id])
        return HttpResponseRedirect(self._page(request, object_id))

    def buttons(self, request: HttpRequest, job: Job) -> list[dict[str, Any]]:
        """The transitions that this user may make and this job can make now."""
        return [
            {
                "label": transition.label,
                "name": transition.name,
                "url": self._url(request, f"_{transition.name}", job.pk),
            }
            for transition in transitions.TRANSITION_ACTIONS
            if self._may(transition, request) and transition.allows(job)
        ]

    def buttons_for_all(self, request: HttpRequest) -> list[dict[str, Any]]:
        """What this user may do to all jobs of the state by which the list is filtered."""
        part = request.GET.get("state", "")
        state = PARTS.get(part, part)
        return [
            {"label": action.label, "name": f"{action.name.replace('-', '_')}_selected"}
            for action in (*transitions.TRANSITION_ACTIONS, transitions.DELETE)
            if state in action.allowed
            and self._may(action, request)
            and (part == "holding" or not action.of_holders)
        ]

    def _perform(
        self,
        request: HttpRequest,
        transition: transitions.ManualTransition,
        queryset: QuerySet[Job],
    ) -> Any:
        if self._is_for_many(request, queryset) or self._is_to_be_asked(request):
            return self._apply_to_all(request, transition)
        selected = self._selected_ids(queryset)
        if question := self._question(request, transition, selected):
            return question
        transitions.apply_to_jobs(request, transition, selected)
        return None

    def _delete(self, request: HttpRequest, seen: Mapping[UUID, str], using: str) -> None:
        actor = transitions.actor_of(request.user)
        deleted = {job.pk for job in delete_jobs(seen, using, actor)}
        stay = Job.objects.using(using).filter(pk__in=seen.keys() - deleted)
        refusals = [refusal(pk, state) for pk, state in stay.values_list("pk", "state")]
        transitions.show_refusals(request, refusals)


def refusal(pk: object, state: str) -> str:
    """Why a job that is in this state now is not deleted."""
    if state == State.RUNNING:
        return _("Job %s is running: cancel it first, then delete it.") % pk
    text = _("Job %(job)s has moved on and is %(state)s now: look at it again.")
    return text % {"job": pk, "state": in_words(state)}
