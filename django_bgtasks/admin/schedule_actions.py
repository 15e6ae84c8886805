"""What is done to schedules: pause, resume, run now, make up, back to the code's, and deletion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partialmethod
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http import HttpResponseRedirect as Redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.errors import BgTasksError, DuplicateJob
from ..models import Job, Schedule, ScheduleSource
from ..schedules import actions
from . import formatting as show
from .listing import WatchedAdmin
from .schedule_forms import SpanOfTicksForm, refusal_text
from .transitions import actor_of

TEMPLATES = "admin/django_bgtasks/schedule"


@dataclass(frozen=True)
class ScheduleAction:
    """One thing to do to a schedule. apply: does it, and says what became of it.

    allows: whether it can be done to this one now.
    """

    name: str
    permission: str
    label: Any
    allows: Callable[[Schedule], bool]
    apply: Callable[[Schedule, HttpRequest, str], SafeString | str]

    def permits(self, user: Any) -> bool:
        """Whether this user may do it."""
        return bool(user.has_perm(f"{Schedule._meta.app_label}.{self.permission}"))


def _pause(row: Schedule, request: HttpRequest, site: str) -> str:
    actions.pause_schedule(row, by=actor_of(request.user))
    return _("The schedule %s is paused.") % row.name


def _resume(row: Schedule, request: HttpRequest, site: str) -> str:
    actions.resume_schedule(row, by=actor_of(request.user))
    return _("The schedule %s goes on.") % row.name


def _run_now(row: Schedule, request: HttpRequest, site: str) -> SafeString:
    job = actions.run_schedule_now(row, by=actor_of(request.user))
    if job is None:
        raise DuplicateJob(_("A job that is not done holds its dedup key. Nothing was enqueued."))
    link = show.link(show.page_of(site, Job, job.pk), _("this is the job"))
    return format_html("{}: {}", _("Enqueued"), link)


def _use_code(row: Schedule, request: HttpRequest, site: str) -> str:
    actions.use_code(row, by=actor_of(request.user))
    return _("The schedule %s is what the code says again.") % row.name


PAUSE = ScheduleAction(
    "pause", "pause_schedule", gettext_lazy("Pause"), lambda row: row.paused_at is None, _pause
)
RESUME = ScheduleAction(
    "resume", "pause_schedule", gettext_lazy("Resume"), lambda row: row.paused_at is not None,
    _resume,
)  # fmt: skip
RUN_NOW = ScheduleAction(
    "run-now", "run_schedule", gettext_lazy("Run now"), lambda row: True, _run_now
)
USE_CODE = ScheduleAction(
    "use-code", "change_schedule", gettext_lazy("Back to the code’s"),
    lambda row: row.source == ScheduleSource.CODE and row.overridden, _use_code,
)  # fmt: skip
BUTTONS = (PAUSE, RESUME, RUN_NOW, USE_CODE)


class ScheduleActions(WatchedAdmin):
    """Each with its own permission, each in the history, and none by GET."""

    actions = ("pause_selected", "resume_selected", "run_selected", "delete_selected")

    @admin.action(permissions=["pause"], description=gettext_lazy("Pause selected schedules"))
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._apply_to_selected(request, PAUSE, queryset)

    @admin.action(permissions=["pause"], description=gettext_lazy("Resume selected schedules"))
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._apply_to_selected(request, RESUME, queryset)

    @admin.action(permissions=["run"], description=gettext_lazy("Run selected schedules now"))
    def run_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._apply_to_selected(request, RUN_NOW, queryset)

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete selected schedules"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> Any:
        """Django's own, without those that the code would make again."""
        declared = [row for row in queryset if actions.try_declares(row)]
        for row in declared:
            messages.error(request, would_come_again(row))
        others = queryset.exclude(pk__in=[row.pk for row in declared])
        return delete_selected(self, request, others) if others.exists() else None

    def _may(self, action: ScheduleAction, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and action.permits(request.user)

    has_pause_permission = partialmethod(_may, PAUSE)
    has_run_permission = partialmethod(_may, RUN_NOW)

    def get_urls(self) -> list[URLPattern]:
        """Django's, one address for each action, which only answers POST, and that of make up."""
        view = self.admin_site.admin_view
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<uuid:object_id>/{action.name}/",
                view(self.action_view),
                {"action": action},
                name=f"{prefix}_{action.name}",
            )
            for action in BUTTONS
        ]
        make_up = view(self.make_up_view)
        own.append(path("<uuid:object_id>/make-up/", make_up, name=f"{prefix}_make-up"))
        return [*own, *super().get_urls()]

    def buttons(self, request: HttpRequest, row: Schedule) -> list[dict[str, Any]]:
        """What this user may do to this schedule now."""
        return [
            {"label": action.label, "name": action.name, "url": self._url(f"_{action.name}", row)}
            for action in BUTTONS
            if self._may(action, request) and action.allows(row)
        ]

    def action_view(
        self, request: HttpRequest, object_id: UUID, action: ScheduleAction
    ) -> HttpResponse:
        """Do it to one schedule and return to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may(action, request):
            raise PermissionDenied
        row = self._row(object_id)
        self._apply(request, action, row)
        return Redirect(self._url("_change", row))

    def make_up_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask from when until when, say how many ticks are missing there, and make them up."""
        if not self._may(RUN_NOW, request):
            raise PermissionDenied
        row = self._row(object_id)
        form = SpanOfTicksForm(row, request.POST if request.method == "POST" else None)
        is_confirmed = form.is_valid() and form.missing and "confirm" in request.POST
        if is_confirmed and self._make_up(request, form, row):
            return Redirect(self._url("_change", row))
        context = {
            **self.page_context(request, _("Make up ticks")),
            "original": row,
            "form": form,
            "list_url": self._url("_change", row),
        }
        return TemplateResponse(request, f"{TEMPLATES}/make_up.html", context)

    def _make_up(self, request: HttpRequest, form: SpanOfTicksForm, row: Schedule) -> bool:
        """Whether it was done; what refuses it is said in the form."""
        start, end = form.cleaned_data["start"], form.cleaned_data["end"]
        try:
            count = len(actions.make_up(row, start, end, by=actor_of(request.user)))
        except DatabaseError:
            raise
        except Exception as refusal:
            form.add_error(None, words_of_refusal(refusal))
            return False
        text = ngettext("%d job was enqueued.", "%d jobs were enqueued.", count) % count
        messages.success(request, text)
        return True

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's own confirmation, unless the code would make it again."""
        row: Any = self.get_object(request, object_id)
        if row and self.has_delete_permission(request) and actions.try_declares(row):
            messages.error(request, would_come_again(row))
            return Redirect(self._url("_change", row))
        return super().delete_view(request, object_id, extra_context)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete the schedule, and write that into the history. Its jobs stay."""
        actions.remove_schedule(obj, by=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete these schedules, and write that into the history. Their jobs stay."""
        for row in queryset:
            self.delete_model(request, row)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[Any]:
        """Nothing: the deletion writes its own entry into the history."""
        return []

    def _apply(self, request: HttpRequest, action: ScheduleAction, row: Schedule) -> None:
        try:
            text = action.apply(row, request, self.admin_site.name)
        except DatabaseError:
            raise
        except Exception as refusal:
            why = words_of_refusal(refusal)
            text = _("Schedule %(name)s: %(why)s") % {"name": row.name, "why": why}
            messages.error(request, text)
        else:
            messages.success(request, text)

    def _apply_to_selected(
        self, request: HttpRequest, action: ScheduleAction, queryset: QuerySet[Schedule]
    ) -> None:
        rows = list(queryset.order_by("name"))
        for row in rows:
            if action.allows(row):
                self._apply(request, action, row)

    def _row(self, object_id: UUID) -> Schedule:
        row = Schedule.objects.filter(pk=object_id).first()
        if row is None:
            raise Http404(_("There is no such schedule."))
        return row

    def _url(self, suffix: str, row: Schedule | None = None) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}{suffix}"
        args = (row.pk,) if row else ()
        return reverse(name, args=args, current_app=self.admin_site.name)


def words_of_refusal(refusal: Exception) -> str:
    """Why it was not done: a middleware refuses a job by what it likes."""
    if isinstance(refusal, BgTasksError):
        return refusal_text(refusal)
    return f"{type(refusal).__name__}: {refusal}"


def would_come_again(row: Schedule) -> str:
    """Why a schedule of the code is not deleted."""
    text = _("The schedule %s is in the code and would come again. Take it out there, or pause it.")
    return text % row.name
