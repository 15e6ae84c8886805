"""The deletion of jobs: of one, of the selected, and of all that match. What runs stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.states import State, in_words
from ..jobs import actions
from ..models import Job
from . import transitions
from .selection import JobSelection


class JobDeletion(JobSelection):
    """Django's own, with its permission and confirmation, for the jobs that do not run."""

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete selected jobs"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Django's own; of all that match, if they are many, in the background."""
        if self._is_for_many(request, queryset):
            return self._apply_to_all(request, transitions.DELETE)
        selected = queryset.filter(pk__in=self._selected_ids(queryset))
        running = selected.filter(state=State.RUNNING)
        refusals = [refusal(pk, State.RUNNING) for pk in running.values_list("pk", flat=True)]
        if refusals:
            messages.error(request, transitions.refusal_summary(refusals))
        idle = selected.exclude(state=State.RUNNING)
        return delete_selected(self, request, idle) if idle.exists() else None

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's own confirmation; a running job is to be cancelled first."""
        job: Any = self.get_object(request, object_id)
        if job is not None and self.has_delete_permission(request) and is_running(job):
            messages.error(request, refusal(job.pk, job.state))
            return HttpResponseRedirect(self._page(request, job.pk))
        return super().delete_view(request, object_id, extra_context)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one job, unless it has started or was retried meanwhile."""
        self._delete(request, {obj.pk: obj.state}, router.db_for_write(Job))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the jobs that do not run, whatever they did when the page was shown."""
        self._delete(request, dict(queryset.values_list("pk", "state")), queryset.db)

    def _delete(self, request: HttpRequest, seen: Mapping[UUID, str], using: str) -> None:
        gone = {job.pk for job in actions.delete_jobs(seen, using)}
        stay = Job.objects.using(using).filter(pk__in=seen.keys() - gone)
        refusals = [refusal(pk, state) for pk, state in stay.values_list("pk", "state")]
        if refusals:
            messages.error(request, transitions.refusal_summary(refusals))


def is_running(job: Any) -> bool:
    """Whether a worker holds this job."""
    return bool(job.state == State.RUNNING)


def refusal(pk: object, state: str) -> str:
    """Why a job that is in this state now is not deleted."""
    if state == State.RUNNING:
        return _("Job %s is running: cancel it first, then delete it.") % pk
    text = _("Job %(job)s has moved on and is %(state)s now: look at it again.")
    return text % {"job": pk, "state": in_words(state)}
