"""The fields of a schedule's page, their groups, and its last jobs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.formats import NOTHING, duration
from ..core.payload import masked_call, may_see_secrets
from ..jobs.task import known_task
from ..models import Job, Schedule
from ..monitoring.schedules import STATES, state_of
from . import formatting as show
from .columns import state_badge, trouble
from .schedule_columns import source_of, why_of
from .schedule_forms import CATCH_UP, OVERLAP
from .schedule_times import tick_in_zone

JOBS = 20


class ScheduleFields:
    """What the page says of a schedule."""

    admin_site: admin.AdminSite

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, row: Any) -> SafeString:
        """Whether it fires, or who has paused it, or by how much it is late."""
        kind = state_of(row)
        badge, why = show.badge(kind, STATES[kind]), why_of(row, kind)
        return format_html('{} <span class="bgtasks-quiet">{}</span>', badge, why)

    @admin.display(description=gettext_lazy("task"))
    def full_task(self, row: Schedule) -> str:
        """Its path, and whether it is gone."""
        if known_task(row.task) is None:
            return _("%s (the code of this site has no such task)") % row.task
        return row.task

    @admin.display(description=gettext_lazy("comes from"))
    def comes_from(self, row: Schedule) -> str:
        """Who says what it is."""
        return source_of(row)

    pretty_args = show.column("args", gettext_lazy("arguments"), show.pretty)
    pretty_kwargs = show.column("kwargs", gettext_lazy("keyword arguments"), show.pretty)
    pretty_options = show.column("options", gettext_lazy("options of its jobs"), show.pretty)

    @admin.display(description=gettext_lazy("about"))
    def about_what(self, row: Schedule) -> SafeString | str:
        """The object that it concerns."""
        return show.about_of(self.admin_site.name, row)

    @admin.display(description=gettext_lazy("owner"))
    def owner_link(self, row: Schedule) -> SafeString | str:
        """The user whose jobs it makes."""
        return show.link_to(self.admin_site.name, row.owner)

    @admin.display(description=gettext_lazy("after an outage"))
    def catch_up_words(self, row: Schedule) -> str:
        """What becomes of the ticks that were missed."""
        return str(CATCH_UP.get(row.catch_up, row.catch_up))  # type: ignore[call-overload]

    @admin.display(description=gettext_lazy("while an earlier job is not done"))
    def overlap_words(self, row: Schedule) -> str:
        """What a tick does then."""
        return str(OVERLAP.get(row.overlap, row.overlap))  # type: ignore[call-overload]

    grace_span = show.column("grace", gettext_lazy("at most late by"), duration)
    jitter_span = show.column(
        "jitter", gettext_lazy("spread over"), lambda value: duration(value or None)
    )
    predicate = show.column(
        "when", gettext_lazy("asked at each tick"), lambda value: value or NOTHING
    )
    time_last = show.column("last_tick", gettext_lazy("last tick"), show.when)
    time_anchor = show.column("anchor", gettext_lazy("counts from"), show.when)


def schedule_fieldsets(row: Schedule | None) -> list[Any]:
    """The groups of a schedule's page, without the rows that would be empty."""
    state: list[Any] = ["state_now", "rule_in_words", ("full_task", "comes_from")]
    if row is not None and row.error:
        state.insert(1, "error")
    state.append(("time_last", "skipped_ticks"))
    policies: list[Any] = [("catch_up_words", "grace_span"), ("overlap_words", "jitter_span")]
    call: list[Any] = ["pretty_args", "pretty_kwargs", ("about_what", "owner_link")]
    if row is not None and row.options:
        call.append("pretty_options")
    if row is not None and row.when:
        policies.append("predicate")
    policies.append(("time_anchor", "backend", "id"))
    return [
        (None, {"fields": state}),
        (gettext_lazy("Call"), {"fields": call}),
        (gettext_lazy("Policies"), {"fields": policies}),
    ]


def conceal_call(row: Schedule, user: Any) -> Schedule:
    """Mask the sensitive values of a row that is shown and never saved, unless `user` may see."""
    if not may_see_secrets(user):
        row.args, row.kwargs = masked_call(known_task(row.task), row.args, row.kwargs)
    return row


def job_rows(row: Schedule, site: str) -> list[dict[str, Any]]:
    """The last jobs of this schedule, at most JOBS of them, the latest tick first."""
    jobs = Job.objects.filter(schedule=row.pk, tick__isnull=False).order_by("-tick")[:JOBS]
    return [
        {
            "tick": show.link(show.page_of(site, Job, job.pk), tick_in_zone(row, job.tick)),
            "badge": show.badge(*state_badge(job)),
            "error": trouble(job),
        }
        for job in jobs.defer("args", "kwargs", "carried", "result")
    ]
