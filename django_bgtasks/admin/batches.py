"""The admin of workflows: the list, and the page of one or of a part of one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..core import clock
from ..core.errors import InvalidArguments
from ..models import Batch, BatchOutcome, Job
from ..monitoring.batch_tree import around_batch, cause_of_skip, failed_jobs, tree_page
from ..workflows.progress import progress_of_batches
from . import formatting as show
from .batch_actions import BatchActions
from .batch_panels import (
    around_rows,
    bar,
    batch_badge,
    batch_link,
    batch_name,
    gate_row,
    job_row,
    states_of,
    took,
    tree_rows,
)
from .filters import AGE_LABELS, AGES
from .history import history_of_batch

# How often the page of one that is open looks again, and so many of its failed jobs come first.
REFRESH_SECONDS, FAILED_LISTED = 3, 10


class BatchStateFilter(admin.SimpleListFilter):
    """By the outcome; open; or open with a job that has failed."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """All of them, whether there are such workflows or not."""
        outcomes = [choice for choice in BatchOutcome.choices if choice[0] != BatchOutcome.SKIPPED]
        return [("open", _("Open")), ("failing", _("Open, has failed jobs")), *outcomes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        if value == "open":
            return queryset.filter(outcome="")
        if value == "failing":
            return queryset.filter(outcome="", failed_at__isnull=False)
        return queryset.filter(outcome=value) if value in BatchOutcome.values else queryset


class BatchAgeFilter(admin.SimpleListFilter):
    """By the time at which they were enqueued."""

    title = _("time of the call")
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(AGE_LABELS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        if value in AGES:
            # An id holds the time it was made at, so that the primary key answers.
            return queryset.filter(pk__gte=clock.id_floor(clock.now() - AGES[value]))
        if value == "older":
            return queryset.filter(pk__lt=clock.id_floor(clock.now() - AGES["month"]))
        return queryset


class BatchList(ChangeList):
    """Whole workflows: their parts are on their pages."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Each with the task of one of its own jobs."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        jobs = Job.objects.filter(batch=OuterRef("pk")).order_by()
        rows = rows.filter(parent__isnull=True)
        found: QuerySet[Any] = rows.annotate(some_task=Subquery(jobs.values("task")[:1]))
        return found

    def get_results(self, request: HttpRequest) -> None:
        """The rows of this page, each with its progress."""
        super().get_results(request)
        found = progress_of_batches(list(self.result_list), self.queryset.db)
        for row in self.result_list:
            row.progress = found[row.pk]


@admin.register(Batch)
class BatchAdmin(BatchActions):
    """Workflows, newest first. Nothing is edited: what is done goes through the ledger."""

    actions = None
    list_display = ("state_now", "name_and_key", "age", "progress_and_time")
    list_display_links = ("name_and_key",)
    list_filter = (BatchStateFilter, BatchAgeFilter)
    ordering = ("-id",)
    search_fields = ("id", "name", "dedup_key")
    search_help_text = _(
        "The id of a workflow, of a part or of a job of it, a part of its name, a whole dedup key, "
        "or an owner’s whole name."
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BatchList

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: maintenance deletes it when its jobs are gone."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search_batches(queryset, term) if term else queryset), False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of a workflow, or of a part of one; `?after=` and `?before=` turn its pages."""
        batch: Any = self.get_object(request, object_id)
        if not self.has_view_permission(request, batch):
            raise PermissionDenied
        if batch is None:
            answer: HttpResponse = self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
                request, self.opts, object_id
            )
            return answer
        request.current_app = self.admin_site.name
        context = {
            **self.page_context(request, batch_name(batch)),
            "original": batch,
            "bgtasks_buttons": self.batch_buttons(request, batch),
            **self._facts(request, batch),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/django_bgtasks/batch/change_form.html", context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Part of the page: Django's own log has nothing of workflows."""
        return HttpResponseRedirect(f"{self._url('change', UUID(object_id))}#bgtasks-history")

    def _facts(self, request: HttpRequest, batch: Batch) -> dict[str, Any]:
        site, using = self.admin_site.name, batch._state.db or "default"
        try:
            page = tree_page(
                batch, using, request.GET.get("after", ""), request.GET.get("before", "")
            )
        except InvalidArguments:
            page = tree_page(batch, using)
        around = around_batch(batch, using)
        failed = failed_jobs(batch, FAILED_LISTED, using) if page.progress.failed else []
        cause = None
        if batch.outcome == BatchOutcome.SKIPPED and batch.gate is not None:
            cause = cause_of_skip(batch.gate, using)
        root, parent = around.root, around.parent
        return {
            "badge": batch_badge(batch),
            "state": batch.outcome or "open",
            "refresh": None if batch.outcome else REFRESH_SECONDS,
            "bar": bar(page.progress),
            "states": states_of(batch, page.progress, site),
            "root": batch_link(root, site) if root and root.pk != batch.pk else "",
            "parent": batch_link(parent, site) if parent and parent != root else "",
            "facts": self._pairs(batch),
            "failed": [job_row(job, site) for job in failed],
            "all_failed": show.job_list(site, batch=batch.pk, state="failed"),
            "more_failed": page.progress.failed > len(failed),
            "nodes": tree_rows(page.nodes, site),
            "page": page,
            "all": show.job_list(site, batch=batch.pk),
            "gate": gate_row(around.gate, site),
            "is_waiting": batch.opened_at is None and not batch.outcome,
            "cause": gate_row(cause, site),
            "followers": around_rows(around.followers, site),
            "bgtasks_history": history_of_batch(batch),
        }

    def _pairs(self, batch: Batch) -> list[tuple[Any, Any]]:
        """What is known of it, without what it has not."""
        pairs: list[tuple[Any, Any]] = [
            (_("Kind"), batch.get_kind_display()),
            (_("Enqueued"), show.when(batch.created_at)),
        ]
        if batch.opened_at is not None and batch.opened_at != batch.created_at:
            pairs.append((_("Begun"), show.when(batch.opened_at)))
        if batch.failed_at is not None:
            pairs.append((_("First failure"), show.when(batch.failed_at)))
        if batch.cancelled_at is not None:
            pairs.append((_("Cancelled"), show.when(batch.cancelled_at)))
        if batch.finished_at is not None:
            pairs.append((_("Ended"), show.when(batch.finished_at)))
        pairs.append((_("Duration"), took(batch.opened_at, batch.finished_at)))
        if batch.owner_id is not None:
            pairs.append((_("Owner"), show.link_to(self.admin_site.name, batch.owner)))
        if batch.about_type_id is not None:
            pairs.append((_("About"), show.about_of(self.admin_site.name, batch)))
        if batch.dedup_key:
            pairs.append((_("Dedup key"), batch.dedup_key))
        return [*pairs, (_("Backend"), batch.backend), (_("Id"), show.uuid(batch.pk))]

    @admin.display(description=_("state"))
    def state_now(self, batch: Batch) -> SafeString:
        """How it stands."""
        return batch_badge(batch)

    @admin.display(description=_("workflow"))
    def name_and_key(self, batch: Any) -> SafeString:
        """Its name; below that what it is, one of its tasks, and its dedup key."""
        below = [batch.get_kind_display()] if batch.name else []
        below += [one for one in (batch.some_task, batch.dedup_key) if one]
        quiet = '<span class="bgtasks-below">{}</span>'
        lines = [format_html(quiet, show.clamped(line)) for line in below]
        name = format_html('<span class="bgtasks-long">{}</span>', batch_name(batch))
        return format_html("{}" * (1 + len(lines)), name, *lines)

    age = show.column("created_at", _("enqueued"), show.ago)

    @admin.display(description=_("progress"))
    def progress_and_time(self, batch: Any) -> SafeString:
        """How many of its jobs have ended, and how many have failed; below that how long it took,
        or has been taking.
        """
        time = took(batch.created_at, batch.finished_at)
        return format_html('{}<bdi class="bgtasks-below">{}</bdi>', bar(batch.progress), time)


def search_batches(rows: QuerySet[Any], term: str) -> QuerySet[Any]:
    """By an id: of a workflow, of a part or of a job of it; a dedup key, an owner, or a part of the
    name.
    """
    if "\0" in term:
        return rows.none()
    try:
        ident = UUID(term)
    except ValueError:
        user: Any = get_user_model()
        owners = user._default_manager.filter(**{user.USERNAME_FIELD: term})
        ids = list(owners.values_list("pk", flat=True)[:10])
        found = Q(name__icontains=term) | Q(dedup_key=term)
        return rows.filter(found | Q(owner__in=ids) if ids else found)
    known = {ident}
    for batch, gate in Job.objects.filter(pk=ident).values_list("batch", "gate"):
        # A callback of the whole is in no batch.
        known |= {one for one in (batch or gate,) if one is not None}
    roots = Batch.objects.filter(pk__in=known).values_list("root", flat=True)
    return rows.filter(pk__in=list(roots))
