"""The history: who did what to jobs and queues, in the admin, on the site and by commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import router
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.states import State
from ..ledger.history import is_of_user, who_cancelled
from ..models import Batch, HistoryEntry, HistoryVerb, Job, Schedule
from . import formatting as show
from .listing import ReadOnlyAdmin

LATEST = 50
# So many of the newest entries are looked through for those of limits, which no index has.
LOOKED_AT = 10_000
OF_LIMITS = (HistoryVerb.LIMIT_CHANGED, HistoryVerb.LIMIT_RESET)
VIA = {"admin": gettext_lazy("in the admin"), "site": gettext_lazy("on the site")}


@admin.register(HistoryEntry)
class HistoryEntryAdmin(ReadOnlyAdmin):
    """What people and their commands did, the newest first. Maintenance deletes old entries."""

    list_display = ("time", "who", "what", "which")
    list_display_links = None
    list_filter = ("verb",)
    ordering = ("-id",)
    search_fields = ("by", "job", "queue")
    search_help_text = gettext_lazy(
        "The whole name of a user of the site or the shell, a queue, or the id of a job or a "
        "workflow."
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: nobody takes back what they did."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By a name, a queue, or a job or a workflow: that which it tells of, or which did it."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if "\0" in term:
            return queryset.none(), False
        try:
            ident = UUID(term)
        except ValueError:
            by_name = Q(by=term) | Q(by__startswith=f"{term}@") | Q(queue=term)
            return queryset.filter(by_name), False
        return queryset.filter(Q(job=ident) | Q(source=ident) | Q(batch=ident)), False

    @admin.display(description=gettext_lazy("when"))
    def time(self, entry: HistoryEntry) -> SafeString | str:
        """The exact time; how long ago on hover."""
        return show.at(entry.at)

    @admin.display(description=gettext_lazy("who"))
    def who(self, entry: HistoryEntry) -> SafeString:
        """The user of the site or of the shell, and by what."""
        return who(entry)

    @admin.display(description=gettext_lazy("what"))
    def what(self, entry: HistoryEntry) -> str:
        """The verb."""
        return entry.get_verb_display()

    @admin.display(description=gettext_lazy("job, queue, schedule or workflow"))
    def which(self, entry: HistoryEntry) -> SafeString | str:
        """The job with its task, and the job that did it; the queue, the schedule, the workflow,
        the key, or how many rows.
        """
        if entry.schedule is not None:
            page = show.page_of(self.admin_site.name, Schedule, entry.schedule)
            return show.link(page, show.clamped(entry.detail))
        if entry.batch is not None:
            page = show.page_of(self.admin_site.name, Batch, entry.batch)
            return show.link(page, show.clamped(entry.detail))
        if entry.job is None:
            return _("queue %s") % entry.queue if entry.queue else show.clamped(entry.detail)
        url = None
        if entry.verb != HistoryVerb.DELETED:
            url = show.page_of(self.admin_site.name, Job, entry.job)
        parts = [show.link(url, show.uuid(entry.job))]
        if entry.source:
            page = show.page_of(self.admin_site.name, Job, entry.source)
            text = _("a duplicate of") if entry.verb == HistoryVerb.DUPLICATED else _("by the job")
            parts.append(format_html("{} {}", text, show.link(page, show.uuid(entry.source))))
        below = format_html_join("", '<span class="bgtasks-below">{}</span>', ((p,) for p in parts))
        name = show.clamped(entry.detail) if entry.detail else show.breakable(entry.task)
        return format_html("{}{}", name, below)


def who(entry: HistoryEntry) -> SafeString:
    """Who did it, and by what means."""
    return format_html(
        '{} <span class="bgtasks-quiet">{}</span>', entry.by, VIA.get(entry.via, entry.via)
    )


def history_of(job: Job) -> list[dict[str, Any]]:
    """What was done to this job, the newest first, at most LATEST of it."""
    return _entries(HistoryEntry.objects.filter(job=job.pk))


def history_of_schedule(row: Schedule) -> list[dict[str, Any]]:
    """What was done to this schedule, the newest first, at most LATEST of it."""
    return _entries(HistoryEntry.objects.filter(schedule=row.pk))


def history_of_batch(row: Batch) -> list[dict[str, Any]]:
    """What was done to this batch, the newest first, at most LATEST of it."""
    return _entries(HistoryEntry.objects.filter(batch=row.pk))


def history_of_limits() -> list[dict[str, Any]]:
    """What was done to limits lately, the newest first, at most LATEST of it."""
    newest = HistoryEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    return _entries(HistoryEntry.objects.filter(pk__gt=newest - LOOKED_AT, verb__in=OF_LIMITS))


def _entries(rows: QuerySet[HistoryEntry]) -> list[dict[str, Any]]:
    return [
        {
            "when": show.when(entry.at),
            "who": who(entry),
            "what": entry.get_verb_display(),
            "which": entry.detail if entry.verb in OF_LIMITS else "",
        }
        for entry in rows.order_by("-pk")[:LATEST]
    ]


def changed_by_url(job: Job, site: str) -> str | None:
    """Where the jobs are listed that this job changed for a person; None if it changed none.

    Of those that it deleted only the history tells.
    """
    entries = HistoryEntry.objects.filter(source=job.pk).exclude(verb=HistoryVerb.DUPLICATED)
    verb = entries.values_list("verb", flat=True).first()
    if verb == HistoryVerb.DELETED:
        return show.history_list(site, q=job.pk)
    return show.job_list(site, changed_by=job.pk) if verb else None


def tell_who_cancelled(jobs: Iterable[Any], user: Any) -> None:
    """Give those of these jobs that somebody cancelled a `cancellation`, as the user reads it."""
    cancelled = [job for job in jobs if job.state == State.CANCELLED]
    if not cancelled:
        return
    found = who_cancelled(cancelled, router.db_for_read(HistoryEntry))
    for job in cancelled:
        if entry := found.get(job.pk):
            is_own = is_of_user(entry, user.get_username())
            own, other = _("You cancelled it."), _("%s cancelled it.") % entry.by
            job.cancellation = own if is_own else other
