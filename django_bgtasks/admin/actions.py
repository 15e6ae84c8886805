"""The transitions as actions of the job list and as buttons of a job's page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy

from ..models import Job
from . import transitions
from .deletion import JobDeletion


class JobActions(JobDeletion):
    """Retry, cancel and run now: each with its own permission, each in the history."""

    actions = ("retry_selected", "run_now_selected", "cancel_selected", "delete_selected")

    @admin.action(permissions=["retry"], description=gettext_lazy("Retry selected jobs"))
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Run failed and cancelled jobs again."""
        return self._perform(request, transitions.RETRY, queryset)

    @admin.action(permissions=["run_now"], description=gettext_lazy("Run selected jobs now"))
    def run_now_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Run scheduled jobs now."""
        return self._perform(request, transitions.RUN_NOW, queryset)

    @admin.action(permissions=["cancel"], description=gettext_lazy("Cancel selected jobs"))
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Cancel jobs that are not final."""
        return self._perform(request, transitions.CANCEL, queryset)

    def has_retry_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Whether the user may retry jobs."""
        return self._may(request, transitions.RETRY)

    def has_run_now_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Whether the user may run jobs now."""
        return self._may(request, transitions.RUN_NOW)

    def has_cancel_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Whether the user may cancel jobs."""
        return self._may(request, transitions.CANCEL)

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
        if not self._may(request, transition):
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
            if self._may(request, transition) and transition.allows(job.state)
        ]

    def _may(self, request: HttpRequest, transition: transitions.ManualTransition) -> bool:
        return self.has_view_permission(request) and transition.permits(request.user)

    def _perform(
        self,
        request: HttpRequest,
        transition: transitions.ManualTransition,
        queryset: QuerySet[Job],
    ) -> Any:
        if self._is_for_many(request, queryset):
            return self._apply_to_all(request, transition)
        selected = self._selected_ids(queryset)
        if question := self._question(request, transition, selected):
            return question
        transitions.apply_to_jobs(request, transition, selected)
        return None
