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
TIMES = [("time_enqueued", "time_due"), ("time_started", "time_finished", "took")]
SETTINGS = [
    ("queue", "priority", "backend"),
    ("timeout", "on_crash", "by_worker"),
    ("dedup_key", "dedup_scope", "dedup_until"),
]


class JobList(ChangeList):
    """The list leaves out what may be large and is not shown."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Without arguments and results."""
        return super().get_queryset(request, exclude_parameters).defer(*PAYLOAD)


@admin.register(Job)
class JobAdmin(JobMoves):
    """Jobs, newest first. Nothing is edited: the moves act through the ledger."""

    list_display = ("state_and_error", "task_name", "queue_rank", "tries", "age", "took")
    list_display_links = ("task_name",)
    list_filter = (StateFilter, QueueFilter, TaskFilter)
    ordering = ("-id",)
    search_fields = ("id", "task", "dedup_key")
    search_help_text = gettext_lazy("A job's id, a part of a task's name, or a whole dedup key.")

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

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What there is to say of this job: nothing has a row that has no value."""
        return fieldsets_of(obj)

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
        return format_html('{} <span class="bgtasks-below">{}</span>', name, module)

    @admin.display(description=gettext_lazy("task"))
    def full_task(self, job: Job) -> str:
        """The dotted path."""
        return job.task

    @admin.display(description=gettext_lazy("state"))
    def state_and_error(self, job: Job) -> SafeString:
        """The state, and below it the last failure, cut to the width; whole on hover."""
        badge = show.badge(*shade(job))
        if not job.error:
            return badge
        return format_html(
            '{}<span class="bgtasks-error" title="{}">{}</span>', badge, job.error, job.error
        )

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, job: Job) -> SafeString:
        """The state, and what it is waiting for."""
        text = ""
        if job.state == State.RUNNING and job.cancel_requested_at:
            text = _("asked to stop %s") % show.in_words(job.cancel_requested_at)
        elif job.state == State.SCHEDULED and job.run_after:
            text = _("runs %s") % show.in_words(job.run_after)
        badge = show.badge(*shade(job))
        return format_html('{} <span class="bgtasks-quiet">{}</span>', badge, text)

    @admin.display(description=gettext_lazy("queue"))
    def queue_rank(self, job: Job) -> SafeString | str:
        """The queue, and the priority where it is not the usual one."""
        if not job.priority:
            return job.queue
        rank = _("priority %d") % job.priority
        return format_html('{}<span class="bgtasks-below">{}</span>', job.queue, rank)

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
    def pretty_result(self, job: Job) -> SafeString:
        """As JSON."""
        return show.pretty(job.result)

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


def fieldsets_of(job: Job) -> list[Any]:
    """The groups of a job's page, without the rows that would be empty."""
    state: list[Any] = [("state_now", "tries"), ("full_task", "id")]
    if job.error:
        state.insert(1, "full_error")
    if job.progress_done is not None:
        state.insert(1, "progress_bar")
    call: list[Any] = ["pretty_args", "pretty_kwargs"]
    if job.state == State.SUCCEEDED:
        call.append("pretty_result")
    return [
        (None, {"fields": state}),
        (gettext_lazy("Call"), {"fields": [*call, ("about_what", "whose")]}),
        (gettext_lazy("Times"), {"fields": TIMES}),
        (gettext_lazy("Settings"), {"fields": SETTINGS, "classes": ("collapse",)}),
    ]


def shade(job: Job) -> tuple[str, Any]:
    """The state as people see it: a sort of badge and its word."""
    if job.state in WAITING and job.attempt:
        return "retrying", _("Retrying")
    if job.state in WAITING and job.error:
        return "held", _("Held")
    return job.state, State(job.state).label
