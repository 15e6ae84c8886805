"""What the list of schedules says of each, and the page of a schedule says too."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.formats import NOTHING, duration, number
from ..models import Job, Schedule, ScheduleSource
from ..monitoring.schedules import STATES, state_of
from . import formatting as show
from .columns import state_badge
from .schedule_times import ticks_of, words_of


class ScheduleColumns:
    """The columns. The rows are read with_lateness(), and in the list have `last_job`."""

    admin_site: admin.AdminSite

    @admin.display(description=gettext_lazy("state"))
    def state_and_why(self, row: Any) -> SafeString:
        """Whether it fires; below it who has paused it, or by how much it is late."""
        kind = state_of(row)
        parts: list[Any] = [show.badge(kind, STATES[kind])]
        if why := why_of(row, kind):
            parts.append(format_html('<span class="bgtasks-below">{}</span>', why))
        if row.error:
            cut = '<span class="bgtasks-error" title="{}">{}</span>'
            parts.append(format_html(cut, row.error, row.error))
        return format_html_join("", "{}", ((part,) for part in parts))

    @admin.display(description=gettext_lazy("schedule"))
    def name_and_task(self, row: Schedule) -> SafeString:
        """Its name, with its task below."""
        task = row.task if row.task != row.name else ""
        mark = format_html(' <span class="bgtasks-queue">{}</span>', _("changed by a person"))
        return format_html(
            '{}<span class="bgtasks-below">{}</span>{}',
            show.breakable(row.name),
            show.breakable(task),
            mark if row.overridden else "",
        )

    @admin.display(description=gettext_lazy("when"))
    def rule_in_words(self, row: Schedule) -> SafeString:
        """The rule as people say it, with the expression below."""
        words, code = words_of(row), row.cron
        return format_html(
            '{}<code class="bgtasks-arguments">{}</code>', words, code if code != words else ""
        )

    @admin.display(description=gettext_lazy("when"))
    def rule_and_next(self, row: Schedule) -> SafeString:
        """The rule, and below it the next times, in its zone and in the reader's."""
        found = ticks_of(row)
        context = {"next": found, "paused": row.paused_at is not None, "name": row.name}
        template = "admin/django_bgtasks/schedule/next_times.html"
        below = render_to_string(template, context) if found.ticks else ""
        return format_html("{}{}", self.rule_in_words(row), below)

    @admin.display(description=gettext_lazy("last run"))
    def last_run(self, row: Any) -> SafeString:
        """How its last job ended, with a link to it, and for which tick; how many were skipped."""
        run = run_of(row.last_job, self.admin_site.name) if row.last_job else NOTHING
        skipped = ngettext("%s tick skipped", "%s ticks skipped", row.skipped) % number(row.skipped)
        below = '{}<span class="bgtasks-below">{}</span>' if row.skipped else "{}"
        return format_html(below, run, skipped)

    @admin.display(description=gettext_lazy("skipped ticks"))
    def skipped_ticks(self, row: Schedule) -> str:
        """How many ticks got no job."""
        return number(row.skipped)


def why_of(row: Any, kind: str) -> SafeString | str:
    """Who has paused it, or by how much it is late."""
    if kind == "paused":
        return pause_text(row)
    return _("by %s") % duration(row.late_by) if kind == "late" else ""


def pause_text(row: Schedule) -> SafeString:
    """Since when it is paused, and by whom."""
    since = show.ago(row.paused_at)
    if not row.paused_by:
        return format_html("{}", since)
    return format_html(_("by {who}, {since}"), who=row.paused_by, since=since)


def run_of(job: Job, site: str) -> SafeString:
    """The state of a job with a link to it, and the tick that it was for."""
    badge = show.badge(*state_badge(job))
    linked = show.link(show.page_of(site, Job, job.pk), badge)
    when = show.ago(job.tick or job.enqueued_at)
    return format_html('{}<span class="bgtasks-below">{}</span>', linked, when)


def source_of(row: Schedule) -> str:
    """Who says what the schedule is."""
    if row.source == ScheduleSource.DYNAMIC:
        return _("made by set_schedule() or in the admin")
    if row.overridden:
        return _("the code; a person has changed it, and that stays")
    return _("the code")
