"""The admin of the idempotency log: what was done once, and what nobody knows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import router
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.formats import NOTHING
from ..core.payload import masked, may_see_secrets
from ..ledger.connection import in_transaction
from ..ledger.history import record
from ..models import EffectState, HistoryVerb, IdempotencyRecord, Job
from . import formatting as show
from .listing import ReadOnlyAdmin
from .transitions import actor_of

UNKNOWN = gettext_lazy(
    "This effect was begun, and its worker died before it could say how it ended. Look on the "
    "other side (the payment provider, the mail server) for this key. If it did not happen, "
    "delete this record and retry the job: it will be done again. If it did happen, leave the "
    "record: it keeps it from happening twice."
)


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    """Keys and what they gave. To delete a record is to forget its key."""

    list_display = ("name", "state_badge", "job_and_attempt", "lifetime")
    list_filter = ("state",)
    ordering = ("-id",)
    search_fields = ("key", "job")
    search_help_text = gettext_lazy("A whole key, or the id of a job.")
    fieldsets = (
        (None, {"fields": ("state_badge", "what_to_do", ("key", "scope"))}),
        (gettext_lazy("Effect"), {"fields": (("job_link", "attempt"), "pretty_response")}),
        (
            gettext_lazy("Times"),
            {"fields": (("time_created", "time_completed", "time_expires"), "fingerprint")},
        ),
    )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """The record to show: what this user may not see is not in it."""
        record: Any = super().get_object(request, object_id, from_field)
        if record and not may_see_secrets(request.user):
            record.response = masked(record.response)
        return record

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What to do is only said where something is to be done."""
        if obj is None or obj.state == EffectState.UNKNOWN:
            return self.fieldsets
        fields = [name for name in self.fieldsets[0][1]["fields"] if name != "what_to_do"]
        return ((None, {"fields": fields}), *self.fieldsets[1:])

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By the whole key, or by the job's id."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(Q(key=term) | Q(job=UUID(term))), False
        except ValueError:
            return queryset.filter(key=term), False

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete the record, and write that into the history."""
        self.delete_queryset(request, IdempotencyRecord.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the records, and write into the history whose keys are forgotten."""
        actor, using = actor_of(request.user), router.db_for_write(IdempotencyRecord)

        def delete_and_record() -> None:
            records = list(queryset.using(using).order_by("pk"))
            whats = [{"job": row.job, "detail": str(row)[:255]} for row in records]
            record(HistoryVerb.FORGOTTEN, actor, whats, using)
            queryset.using(using).filter(pk__in=[row.pk for row in records]).delete()

        in_transaction(delete_and_record, using)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[Any]:
        """Nothing: the deletion writes its own entries into the history."""
        return []

    @admin.display(description=gettext_lazy("key"))
    def name(self, record: IdempotencyRecord) -> SafeString:
        """Scope and key, cut to four lines; whole on hover."""
        return show.clamped(record)

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, record: IdempotencyRecord) -> SafeString:
        """What is known of the effect."""
        return show.badge(record.state, EffectState(record.state).label)

    @admin.display(description=gettext_lazy("what to do"))
    def what_to_do(self, record: IdempotencyRecord) -> str:
        """How a person settles an unknown effect."""
        return str(UNKNOWN) if record.state == EffectState.UNKNOWN else NOTHING

    @admin.display(description=gettext_lazy("job"))
    def job_link(self, record: IdempotencyRecord) -> SafeString | str:
        """The job that wrote it."""
        if record.job is None:
            return NOTHING
        return show.link(show.page_of(self.admin_site.name, Job, record.job), show.uuid(record.job))

    @admin.display(description=gettext_lazy("job"))
    def job_and_attempt(self, record: IdempotencyRecord) -> SafeString | str:
        """The job that wrote it, and in which attempt."""
        if record.job is None:
            return NOTHING
        attempt = _("attempt %s") % record.attempt if record.attempt else ""
        below = '{}<span class="bgtasks-below">{}</span>'
        return format_html(below, self.job_link(record), attempt)

    @admin.display(description=gettext_lazy("created"))
    def lifetime(self, record: IdempotencyRecord) -> SafeString:
        """When it was made, and until when it is kept."""
        start, end = show.ago(record.created_at), show.ago(record.expires_at)
        below = '{}<span class="bgtasks-below">{} {}</span>'
        return format_html(below, start, _("expires"), end)

    pretty_response = show.column("response", gettext_lazy("response"), show.pretty)
    time_created = show.column("created_at", gettext_lazy("created"), show.when)
    time_completed = show.column("completed_at", gettext_lazy("completed"), show.when)
    time_expires = show.column("expires_at", gettext_lazy("expires"), show.when)
