"""The admin of jobs: the list, and the page of one job."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy

from ..core.states import State
from ..models import Job
from . import formatting as show
from .batch_panels import workflow_of
from .columns import JobColumns, state_badge
from .duplicate import JobDuplication
from .fields import JobFields, fieldsets_of
from .filters import (
    AgeFilter,
    BatchFilter,
    ChangedByFilter,
    ErrorFilter,
    FinishedFilter,
    LaneFilter,
    QueueFilter,
    ScheduleFilter,
    StateFilter,
    TaskFilter,
    filtered,
)
from .history import changed_by_url, history_of, tell_who_cancelled
from .limit_panels import limit_of
from .related_panels import attempts_of, records_of
from .search import small_calls

# How often the page of a job that is not final looks again.
REFRESH_SECONDS = 3
PAYLOAD = ("args", "kwargs", "carried", "result")


class JobList(ChangeList):
    """The list leaves out what is large."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Without arguments, carried contexts and results."""
        return super().get_queryset(request, exclude_parameters).defer(*PAYLOAD)

    def get_results(self, request: HttpRequest) -> None:
        """The rows of this page, each with as much of its call as the user may see."""
        super().get_results(request)
        tell_who_cancelled(self.result_list, request.user)
        calls = small_calls([job.pk for job in self.result_list])
        for job in self.result_list:
            # One that is deleted just now has none.
            call = calls.get(job.pk, (None, None))
            job.short_call = show.short_call(job.task, *call, job.types, request.user)


@admin.register(Job)
class JobAdmin(JobColumns, JobFields, JobDuplication):
    """Jobs, newest first. Nothing is edited: what is done goes through the ledger."""

    list_display = ("state_and_error", "task_and_call", "age", "took_and_tries", "queue_rank")
    list_display_links = ("task_and_call",)
    list_filter = (
        *(StateFilter, ErrorFilter, QueueFilter, TaskFilter),
        *(FinishedFilter, AgeFilter, ChangedByFilter, ScheduleFilter, LaneFilter, BatchFilter),
    )
    ordering = ("-id",)
    search_fields = ("id", "task", "dedup_key")
    search_help_text = gettext_lazy(
        "The id of a job or batch, a whole dedup key, an owner's name, a part of a task's name "
        "or of a label, or of the arguments of the newest 10,000 jobs."
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """The list, with buttons for all that match where it is of one state."""
        context = {"bgtasks_for_all": self.buttons_for_all(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return filtered(queryset, {"q": search_term}, request.user), False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """The job to show: what this user may not see is not in it."""
        job: Any = super().get_object(request, object_id, from_field)
        if job is None:
            return None
        tell_who_cancelled([job], request.user)
        return show.conceal(job, request.user)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return fieldsets_of(obj)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Part of the job's page: Django's own log has nothing of jobs."""
        return HttpResponseRedirect(f"{self._page(request, object_id)}#bgtasks-history")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Django's page with the buttons, the attempts and the idempotency records of the job."""
        job: Job = context["original"]
        context["bgtasks_buttons"] = self.buttons(request, job)
        context["bgtasks_duplicate"] = self.duplicate_url(request, job)
        context["bgtasks_limit"] = limit_of(job, self.admin_site.name)
        context["bgtasks_workflow"] = workflow_of(
            job, self.admin_site.name, request.user.has_perm("django_bgtasks.view_batch")
        )
        context["bgtasks_state"] = state_badge(job)[1]
        context["bgtasks_refresh"] = None if job.is_final else REFRESH_SECONDS
        context["bgtasks_changed"] = changed_by_url(job, self.admin_site.name)
        context["bgtasks_history"] = history_of(job)
        context["bgtasks_attempts"] = attempts_of(job, self.admin_site.name)
        if request.user.has_perm("django_bgtasks.view_idempotencyrecord"):
            context["bgtasks_records"] = records_of(job, self.admin_site.name)
        if job.state == State.RUNNING:
            context["show_delete"] = False
        return super().render_change_form(request, context, *args, **kwargs)
