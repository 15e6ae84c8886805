"""The admin of jobs: the list, and the page of one job."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core import clock
from ..core.states import WAITING, State
from ..models import Job
from . import formatting as show
from .actions import JobMoves, is_running
from .filters import QueueFilter, StateFilter, TaskFilter
from .related import about_link, attempts_of, owner_link, records_of, worker_link
from .workers import is_any_alive

PAYLOAD = ("args", "kwargs", "result")


class JobList(ChangeList):
    """The list leaves out what may be large and is not shown."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Without arguments and results."""
        return super().get_queryset(request, exclude_parameters).defer(*PAYLOAD)


@admin.register(Job)
class JobAdmin(JobMoves):
    """Jobs, newest first. Nothing is edited: the moves act through the ledger."""

    list_display = (
        "task_name",
        "state_badge",
        "queue",
        "rank",
        "tries",
        "age",
        "took",
        "error_line",
    )
    list_filter = (StateFilter, QueueFilter, TaskFilter)
    ordering = ("-id",)
    search_fields = ("id", "task", "dedup_key")
    search_help_text = gettext_lazy("A job's id, a part of a task's name, or a whole dedup key.")
    fieldsets = (
        (None, {"fields": ("state_now", "full_error", "progress_bar", "full_task", "id")}),
        (
            gettext_lazy("Call"),
            {"fields": ("pretty_args", "pretty_kwargs", "pretty_result", "about_what", "whose")},
        ),
        (
            gettext_lazy("Times"),
            {
                "fields": (
                    "time_enqueued",
                    "time_due",
                    "time_started",
                    "time_finished",
                    "took",
                    "time_cancel_requested",
                )
            },
        ),
        (
            gettext_lazy("Settings"),
            {
                "classes": ("collapse",),
                "fields": (
                    ("queue", "priority"),
                    ("attempt", "max_attempts"),
                    ("timeout", "on_crash"),
                    ("dedup_key", "dedup_scope", "dedup_until"),
                    ("backend", "by_worker"),
                ),
            },
        ),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """See JobList."""
        return JobList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By id, by a part of the task's name, or by a whole dedup key."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.filter(Q(task__icontains=term) | Q(dedup_key=term)), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's list, which also says when no worker is running."""
        context = {"bgtasks_no_worker": not is_any_alive(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Django's page with the buttons, the attempts and the idempotency records of the job."""
        job: Job = context["original"]
        context["bgtasks_buttons"] = self.buttons(request, job)
        context["bgtasks_attempts"] = attempts_of(job, self.admin_site.name)
        context["bgtasks_records"] = records_of(job, self.admin_site.name)
        if is_running(job):
            context["show_delete"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=gettext_lazy("task"))
    def task_name(self, job: Job) -> SafeString:
        """The function's name, its module in a quiet line below."""
        module, _dot, name = job.task.rpartition(".")
        return format_html('{} <span class="bgtasks-module">{}</span>', name, module)

    @admin.display(description=gettext_lazy("task"))
    def full_task(self, job: Job) -> str:
        """The dotted path."""
        return job.task

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, job: Job) -> SafeString:
        """The state; waiting jobs that were tried, or are held, say so."""
        kind, label = shade(job)
        return show.badge(kind, label)

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, job: Job) -> SafeString:
        """The state, and what it is waiting for."""
        text = ""
        if job.state == State.RUNNING and job.cancel_requested_at:
            text = _("asked to stop")
        elif job.state == State.SCHEDULED and job.run_after:
            text = _("runs %s") % show.in_words(job.run_after)
        return format_html('{} <span class="bgtasks-quiet">{}</span>', self.state_badge(job), text)

    @admin.display(description=gettext_lazy("priority"))
    def rank(self, job: Job) -> int | str:
        """The priority where it is not the usual one."""
        return job.priority or show.NOTHING

    @admin.display(description=gettext_lazy("attempt"))
    def tries(self, job: Job) -> str:
        """Which attempt of how many."""
        return f"{job.attempt}/{job.max_attempts}"

    @admin.display(description=gettext_lazy("enqueued"))
    def age(self, job: Job) -> SafeString | str:
        """How long ago it was enqueued."""
        return show.ago(job.enqueued_at)

    @admin.display(description=gettext_lazy("duration"))
    def took(self, job: Job) -> str:
        """How long the last attempt took, or has been taking."""
        if job.started_at is None or job.state in WAITING:
            return show.NOTHING
        return show.duration((job.finished_at or clock.now()) - job.started_at)

    @admin.display(description=gettext_lazy("error"))
    def error_line(self, job: Job) -> SafeString | str:
        """The last failure, cut to the width of the column; whole on hover."""
        if not job.error:
            return show.NOTHING
        return format_html('<span class="bgtasks-error" title="{}">{}</span>', job.error, job.error)

    @admin.display(description=gettext_lazy("error"))
    def full_error(self, job: Job) -> str:
        """The last failure."""
        return job.error or show.NOTHING

    @admin.display(description=gettext_lazy("arguments"))
    def pretty_args(self, job: Job) -> SafeString:
        """As JSON."""
        return show.pretty(job.args)

    @admin.display(description=gettext_lazy("keyword arguments"))
    def pretty_kwargs(self, job: Job) -> SafeString:
        """As JSON."""
        return show.pretty(job.kwargs)

    @admin.display(description=gettext_lazy("result"))
    def pretty_result(self, job: Job) -> SafeString | str:
        """As JSON, of a job that succeeded."""
        return show.pretty(job.result) if job.state == State.SUCCEEDED else show.NOTHING

    @admin.display(description=gettext_lazy("progress"))
    def progress_bar(self, job: Job) -> SafeString | str:
        """What the task reported last."""
        if job.progress_done is None:
            return show.NOTHING
        if not job.progress_total:
            return format_html("{} {}", job.progress_done, job.progress_message)
        return format_html(
            '<progress value="{}" max="{}"></progress> {} / {} {}',
            job.progress_done,
            job.progress_total,
            job.progress_done,
            job.progress_total,
            job.progress_message,
        )

    @admin.display(description=gettext_lazy("about"))
    def about_what(self, job: Job) -> SafeString | str:
        """The object this job concerns."""
        return about_link(job, self.admin_site.name)

    @admin.display(description=gettext_lazy("owner"))
    def whose(self, job: Job) -> SafeString | str:
        """The user whose job it is."""
        return owner_link(job, self.admin_site.name)

    @admin.display(description=gettext_lazy("worker"))
    def by_worker(self, job: Job) -> SafeString | str:
        """The worker of the last attempt."""
        return worker_link(job.worker, self.admin_site.name)

    @admin.display(description=gettext_lazy("enqueued"))
    def time_enqueued(self, job: Job) -> SafeString | str:
        """Exact, and in words."""
        return show.when(job.enqueued_at)

    @admin.display(description=gettext_lazy("run after"))
    def time_due(self, job: Job) -> SafeString | str:
        """Exact, and in words."""
        return show.when(job.run_after)

    @admin.display(description=gettext_lazy("started"))
    def time_started(self, job: Job) -> SafeString | str:
        """Exact, and in words."""
        return show.when(job.started_at)

    @admin.display(description=gettext_lazy("finished"))
    def time_finished(self, job: Job) -> SafeString | str:
        """Exact, and in words."""
        return show.when(job.finished_at)

    @admin.display(description=gettext_lazy("cancel requested"))
    def time_cancel_requested(self, job: Job) -> SafeString | str:
        """Exact, and in words."""
        return show.when(job.cancel_requested_at)


def shade(job: Job) -> tuple[str, Any]:
    """The state as people see it: a sort of badge and its word."""
    if job.state in WAITING and job.attempt:
        return "retrying", _("Retrying")
    if job.state in WAITING and job.error:
        return "held", _("Held")
    return job.state, State(job.state).label
