"""The fields of a job's page, and their groups."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.aliases import CURRENT
from ..core.formats import NOTHING
from ..core.states import State
from ..models import Job, Schedule, Worker
from . import formatting as show
from .columns import state_badge, trouble, wait_text

TIMES = [("time_enqueued", "time_due"), ("time_started", "time_finished", "took")]
SETTINGS = [
    ("queue", "priority", "backend"),
    ("timeout", "on_crash", "by_worker"),
    ("dedup_key", "dedup_scope", "key_until"),
]


class JobFields:
    """What the page says of a job."""

    admin_site: admin.AdminSite

    @admin.display(description=gettext_lazy("task"))
    def full_task(self, job: Job) -> str:
        """Its path; behind that the one that it has now, if it was renamed."""
        if job.task not in CURRENT:
            return job.task
        return _("%(task)s, now %(now)s") % {"task": job.task, "now": CURRENT[job.task]}

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, job: Job) -> SafeString:
        """The state, and what it is waiting for."""
        if job.state == State.RUNNING and job.cancel_requested_at:
            text = _("asked to stop %s") % show.relative_time(job.cancel_requested_at)
        elif job.state == State.SCHEDULED and job.run_after:
            text = _("runs %s") % show.relative_time(job.run_after)
        else:
            text = wait_text(job)
        badge = show.badge(*state_badge(job))
        return format_html('{} <span class="bgtasks-quiet">{}</span>', badge, text)

    @admin.display(description=gettext_lazy("error"))
    def full_error(self, job: Job) -> str:
        """Why it is held, or the last failure."""
        return trouble(job) or NOTHING

    pretty_args = show.column("args", gettext_lazy("arguments"), show.pretty)
    pretty_kwargs = show.column("kwargs", gettext_lazy("keyword arguments"), show.pretty)
    own_retry = show.column("retry", gettext_lazy("retries of this job"), show.pretty)
    pretty_result = show.column("result", gettext_lazy("result"), show.pretty)

    @admin.display(description=gettext_lazy("carried context"))
    def pretty_carried(self, job: Job) -> SafeString:
        """What the call has brought along, such as the language."""
        return show.pretty(show.carried(job))

    @admin.display(description=gettext_lazy("progress"))
    def progress_bar(self, job: Job) -> SafeString | str:
        """What the task reported last."""
        progress = job.progress
        if progress is None:
            return NOTHING
        if not progress["total"]:
            return format_html("{} {}", progress["done"], progress["message"])
        bar = '<progress value="{done}" max="{total}"></progress> {done} / {total} {message}'
        return format_html(bar, **progress)

    @admin.display(description=gettext_lazy("about"))
    def about_what(self, job: Job) -> SafeString | str:
        """The object this job concerns."""
        return show.about_of(self.admin_site.name, job)

    @admin.display(description=gettext_lazy("owner"))
    def owner_link(self, job: Job) -> SafeString | str:
        """The user whose job it is."""
        return show.link_to(self.admin_site.name, job.owner)

    @admin.display(description=gettext_lazy("worker"))
    def by_worker(self, job: Job) -> SafeString | str:
        """The worker of the last attempt; its id when the row is gone."""
        worker = Worker.objects.filter(pk=job.worker).first() if job.worker else None
        return show.worker_of(self.admin_site.name, worker, job.worker)

    @admin.display(description=gettext_lazy("schedule"))
    def schedule_link(self, job: Job) -> SafeString | str:
        """The schedule that enqueued it; its id when the row is gone."""
        row = Schedule.objects.filter(pk=job.schedule).first() if job.schedule else None
        return show.link_to(self.admin_site.name, row, job.schedule)

    @admin.display(description=gettext_lazy("limit or sequence"))
    def lane_link(self, job: Job) -> SafeString | str:
        """Its key, with a link to the jobs that have the same."""
        return show.link(show.job_list(self.admin_site.name, lane=job.lane), job.lane)

    time_tick = show.column("tick", gettext_lazy("tick"), show.when)
    time_enqueued = show.column("enqueued_at", gettext_lazy("enqueued"), show.when)
    time_due = show.column("run_after", gettext_lazy("run after"), show.when)
    time_expires = show.column("expires_at", gettext_lazy("expires"), show.when)
    time_started = show.column("started_at", gettext_lazy("started"), show.when)
    time_finished = show.column("finished_at", gettext_lazy("finished"), show.when)
    key_until = show.column("dedup_until", gettext_lazy("dedup until"), show.when)


def fieldsets_of(job: Job) -> list[Any]:
    """The groups of a job's page, without the rows that would be empty."""
    state: list[Any] = [("state_now", "tries"), ("full_task", "id")]
    if job.label:
        state.insert(1, "label")
    if trouble(job):
        state.insert(1, "full_error")
    if job.progress_done is not None:
        state.insert(1, "progress_bar")
    if job.schedule is not None:
        state.append(("schedule_link", "time_tick"))
    call: list[Any] = ["pretty_args", "pretty_kwargs"]
    if job.state == State.SUCCEEDED:
        call.append("pretty_result")
    if job.carried is not None:
        call.append("pretty_carried")
    enqueued, ran = TIMES
    settings: list[Any] = [*SETTINGS, "own_retry"] if job.retry else [*SETTINGS]
    if job.lane is not None:
        settings.append("lane_link")
    times = [(*enqueued, "time_expires") if job.expires_at else enqueued, ran]
    return [
        (None, {"fields": state}),
        (gettext_lazy("Call"), {"fields": [*call, ("about_what", "owner_link")]}),
        (gettext_lazy("Times"), {"fields": times}),
        (gettext_lazy("Settings"), {"fields": settings, "classes": ("collapse",)}),
    ]
