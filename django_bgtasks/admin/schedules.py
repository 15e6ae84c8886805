"""The admin of schedules: the list, the page of one, and the form in which one is written."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http import HttpResponseRedirect as Redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import Schedule
from ..monitoring.schedules import last_jobs, with_lateness
from ..schedules.actions import save_schedule
from . import formatting as show
from .history import history_of_schedule
from .schedule_actions import TEMPLATES, ScheduleActions
from .schedule_columns import ScheduleColumns
from .schedule_fields import ScheduleFields, conceal_call, job_rows, schedule_fieldsets
from .schedule_filters import ScheduleStateFilter, ScheduleTaskFilter, search_schedules
from .schedule_forms import OF_THE_PREVIEW, ScheduleForm, TimesForm
from .schedule_preview import preview_of
from .schedule_times import ticks_of
from .transitions import actor_of

PAYLOAD = ("args", "kwargs")


class ScheduleList(ChangeList):
    """The list leaves out what is large."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Without arguments."""
        return super().get_queryset(request, exclude_parameters).defer(*PAYLOAD)

    def get_results(self, request: HttpRequest) -> None:
        """The rows of this page, each with its last job."""
        super().get_results(request)
        jobs = last_jobs(self.result_list, self.queryset.db)
        for row in self.result_list:
            row.last_job = jobs.get(row.pk)


@admin.register(Schedule)
class ScheduleAdmin(ScheduleColumns, ScheduleFields, ScheduleActions):
    """Schedules, by name. Rows are written by the verbs of `django_bgtasks.schedules` alone."""

    list_display = ("state_and_why", "name_and_task", "rule_and_next", "last_run")
    list_display_links = ("name_and_task",)
    list_filter = (ScheduleStateFilter, "source", ScheduleTaskFilter)
    ordering = ("name",)
    search_fields = ("name", "task")
    search_help_text = gettext_lazy(
        "A part of a name or of a task’s name, or an owner’s whole name."
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScheduleList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what the state of each is made of."""
        return with_lateness(super().get_queryset(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search_schedules(queryset, term) if term else queryset), False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may add schedules."""
        return bool(request.user.has_perm("django_bgtasks.add_schedule"))

    def may_edit(self, request: HttpRequest) -> bool:
        """Whether this user may edit schedules; Django itself saves none."""
        return self.has_view_permission(request) and request.user.has_perm(
            "django_bgtasks.change_schedule"
        )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """The schedule to show: what this user may not see is not in it."""
        row: Any = super().get_object(request, object_id, from_field)
        return row and conceal_call(row, request.user)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return schedule_fieldsets(obj)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path("preview/", view(self.preview_view), name=f"{prefix}_preview"),
            path("<uuid:object_id>/edit/", view(self.edit_view), name=f"{prefix}_edit"),
        ]
        return [*own, *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """An empty form; makes a schedule."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self._form(request, None, _("Add schedule"))

    def edit_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """The form with what the schedule is; a schedule of the code is the person's from then."""
        if not self.may_edit(request):
            raise PermissionDenied
        if request.method == "POST" and not Schedule.objects.filter(pk=object_id).exists():
            return self._form_of_what_is_gone(request)
        return self._form(request, self._row(object_id), _("Edit schedule"))

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """The times of a form in words, and the next of them, for its script."""
        if not (self.has_add_permission(request) or self.may_edit(request)):
            raise PermissionDenied
        context = {"preview": preview_of(TimesForm(request.GET), self._edited(request))}
        return TemplateResponse(request, f"{TEMPLATES}/preview.html", context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Part of the schedule's page: Django's own log has nothing of schedules."""
        return Redirect(f"{self._url('_change', self._row(UUID(object_id)))}#bgtasks-history")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Django's page with the buttons, the next times, the jobs and the history."""
        row: Schedule = context["original"]
        context["bgtasks_buttons"] = self.buttons(request, row)
        if self.may_edit(request):
            context["bgtasks_edit"] = self._url("_edit", row)
        if request.user.has_perm("django_bgtasks.run_schedule"):
            context["bgtasks_make_up"] = self._url("_make-up", row)
        context["bgtasks_next"] = ticks_of(row)
        context["bgtasks_history"] = history_of_schedule(row)
        if request.user.has_perm("django_bgtasks.view_job"):
            context["bgtasks_jobs"] = job_rows(row, self.admin_site.name)
            context["bgtasks_all_jobs"] = show.job_list(self.admin_site.name, schedule=row.pk)
        return super().render_change_form(request, context, *args, **kwargs)

    def _edited(self, request: HttpRequest) -> Schedule | None:
        try:
            return Schedule.objects.filter(pk=UUID(request.GET.get("schedule", ""))).first()
        except ValueError:
            return None

    def _form(self, request: HttpRequest, row: Schedule | None, title: str) -> HttpResponse:
        form = ScheduleForm(request.user, row, request.POST if request.method == "POST" else None)
        if "_preview" not in request.POST and form.is_valid() and form.draft is not None:
            saved = save_schedule(form.draft, by=actor_of(request.user))
            messages.success(request, _("The schedule %s is saved.") % saved.name)
            return Redirect(self._url("_change", saved))
        return self._page_of_form(request, form, row, title)

    def _form_of_what_is_gone(self, request: HttpRequest) -> HttpResponse:
        """What was typed, to be saved as a new schedule."""
        if not self.has_add_permission(request):
            raise Http404(_("There is no such schedule."))
        form = ScheduleForm(request.user, None, request.POST)
        refusal = _("Somebody has deleted this schedule meanwhile. Save it here as a new one.")
        form.add_error(None, refusal)
        return self._page_of_form(request, form, None, _("Add schedule"))

    def _page_of_form(
        self, request: HttpRequest, form: ScheduleForm, row: Schedule | None, title: str
    ) -> HttpResponse:
        context = {
            "form_url": "" if row else self._url("_add"),
            **self.page_context(request, title),
            "original": row,
            "form": form,
            "preview": preview_of(form, row),
            "preview_fields": " ".join(OF_THE_PREVIEW),
            "preview_url": self._url("_preview") + (f"?schedule={row.pk}" if row else ""),
            "back_url": self._url("_change", row) if row else self._url("_changelist"),
        }
        return TemplateResponse(request, f"{TEMPLATES}/form.html", context)
