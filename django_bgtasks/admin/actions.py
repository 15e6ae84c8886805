"""The moves as actions of the job list and as buttons of a job's page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.states import State
from ..models import Job
from . import moves
from .bulk import move_all
from .listing import ReadOnlyAdmin

AT_ONCE = 1000
# What the confirmation of an action sends again.
CARRIED = ("action", "select_across", ACTION_CHECKBOX_NAME)


class JobMoves(ReadOnlyAdmin):
    """Retry, cancel, run now and delete: each with its own permission, each in the history."""

    actions = ("retry_selected", "run_now_selected", "cancel_selected", "delete_selected")

    @admin.action(permissions=["retry"], description=gettext_lazy("Retry selected jobs"))
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Run failed and cancelled jobs again."""
        return self._perform(request, moves.RETRY, queryset)

    @admin.action(permissions=["run_now"], description=gettext_lazy("Run selected jobs now"))
    def run_now_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Run scheduled jobs now."""
        return self._perform(request, moves.RUN_NOW, queryset)

    @admin.action(permissions=["cancel"], description=gettext_lazy("Cancel selected jobs"))
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Cancel jobs that are not final."""
        return self._perform(request, moves.CANCEL, queryset)

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete selected jobs"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> Any:
        """Django's own, with its confirmation, for the jobs that do not run."""
        chosen = queryset.filter(pk__in=self._chosen(request, queryset))
        running = chosen.filter(state=State.RUNNING)
        refusals = [running_refusal(pk) for pk in running.values_list("pk", flat=True)]
        if refusals:
            messages.error(request, moves.refused(refusals))
        idle = chosen.exclude(state=State.RUNNING)
        return delete_selected(self, request, idle) if idle.exists() else None

    def has_retry_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Whether the user may retry jobs."""
        return self._may(request, moves.RETRY)

    def has_run_now_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Whether the user may run jobs now."""
        return self._may(request, moves.RUN_NOW)

    def has_cancel_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Whether the user may cancel jobs."""
        return self._may(request, moves.CANCEL)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's own confirmation; a running job is to be cancelled first."""
        job = self.get_object(request, object_id)
        if job is not None and self.has_delete_permission(request) and is_running(job):
            messages.error(request, running_refusal(job.pk))
            return HttpResponseRedirect(self._page(request, job.pk))
        return super().delete_view(request, object_id, extra_context)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one job, unless it has started meanwhile."""
        self.delete_queryset(request, Job.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the jobs that do not run, whatever they did when the page was shown."""
        pks = list(queryset.values_list("pk", flat=True))
        with transaction.atomic(queryset.db):
            rows = Job.objects.using(queryset.db).filter(pk__in=pks).select_for_update()
            idle = [pk for pk, state in rows.values_list("pk", "state") if state != State.RUNNING]
            Job.objects.using(queryset.db).filter(pk__in=idle).delete()
        for pk in set(pks) - set(idle):
            messages.error(request, running_refusal(pk))

    def get_urls(self) -> list[URLPattern]:
        """Django's, and one address for each move, which only answers POST."""
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<uuid:object_id>/{move.name}/",
                self.admin_site.admin_view(self.move_view),
                {"move": move},
                name=f"{prefix}_{move.name}",
            )
            for move in moves.ALL
        ]
        return [*own, *super().get_urls()]

    def move_view(self, request: HttpRequest, object_id: UUID, move: moves.Move) -> HttpResponse:
        """Make one move of one job and return to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may(request, move):
            raise PermissionDenied
        moves.perform(request, move, [object_id])
        return HttpResponseRedirect(self._page(request, object_id))

    def buttons(self, request: HttpRequest, job: Job) -> list[dict[str, Any]]:
        """The moves that this user may make and this job can make now."""
        return [
            {
                "label": move.label,
                "name": move.name,
                "url": self._url(request, f"_{move.name}", job.pk),
            }
            for move in moves.ALL
            if self._may(request, move) and move.allows(job.state)
        ]

    def _may(self, request: HttpRequest, move: moves.Move) -> bool:
        return self.has_view_permission(request) and move.permits(request.user)

    def _perform(self, request: HttpRequest, move: moves.Move, queryset: QuerySet[Job]) -> Any:
        """Of the selected jobs at once; of all that match, if they are many, in the background."""
        if request.POST.get("select_across") == "1" and queryset[AT_ONCE:].exists():
            return self._perform_all(request, move)
        moves.perform(request, move, self._chosen(request, queryset))
        return None

    def _perform_all(self, request: HttpRequest, move: moves.Move) -> HttpResponse:
        if "bgtasks_confirmed" not in request.POST:
            context = {
                **self.page_context(request, _("Are you sure?")),
                "move": move,
                "at_least": AT_ONCE,
                "fields": {name: request.POST.get(name, "") for name in CARRIED},
                "chosen": {name: value for name, value in request.GET.items() if value},
            }
            return TemplateResponse(request, "admin/django_bgtasks/job/move_all.html", context)
        job_id = move_all(move, request.GET.dict(), request.user)
        text = _("A background job makes this move. Its page shows how far it is.")
        messages.success(request, text)
        return HttpResponseRedirect(self._page(request, job_id))

    def _chosen(self, request: HttpRequest, queryset: QuerySet[Job]) -> list[UUID]:
        pks = list(queryset.values_list("pk", flat=True)[: AT_ONCE + 1])
        if len(pks) > AT_ONCE:
            text = ngettext(
                "Only the newest %d job was taken. Repeat it for the others.",
                "Only the newest %d jobs were taken. Repeat it for the others.",
                AT_ONCE,
            )
            messages.warning(request, text % AT_ONCE)
        return pks[:AT_ONCE]

    def _page(self, request: HttpRequest, pk: object) -> str:
        return self._url(request, "_change", pk)

    def _url(self, request: HttpRequest, suffix: str, pk: object) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}{suffix}"
        url = reverse(name, args=(pk,), current_app=self.admin_site.name)
        filters: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return add_preserved_filters(filters, url)


def is_running(job: Any) -> bool:
    """Whether a worker holds this job."""
    return bool(job.state == State.RUNNING)


def running_refusal(pk: object) -> str:
    """Why a running job is not deleted."""
    return _("Job %s is running: cancel it first, then delete it.") % pk
