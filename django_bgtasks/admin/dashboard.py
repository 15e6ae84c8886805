"""The dashboard: what happens now and what happened lately, for who keeps the site running."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.options import default_backend, entries
from ..jobs import actions
from ..models import Dashboard
from ..monitoring.series import RANGES, series
from ..monitoring.snapshot import take_snapshot
from . import panels
from .listing import ReadOnlyAdmin
from .transitions import actor_of

RANGE_LABELS = {
    "hour": gettext_lazy("Last hour"),
    "day": gettext_lazy("Last day"),
    "week": gettext_lazy("Last week"),
}
# How often the page looks again, in seconds, while somebody looks at it.
REFRESH_SECONDS = 3


@admin.register(Dashboard)
class DashboardAdmin(ReadOnlyAdmin):
    """One page. It has its own permission, and another one to pause a queue."""

    def get_urls(self) -> list[URLPattern]:
        """The page, and where its buttons go."""
        view = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("pause/", view(self.pause_view), {"pause": True}, name=f"{name}_pause"),
            path("resume/", view(self.pause_view), {"pause": False}, name=f"{name}_resume"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page, or only its sections for the script that keeps it up to date."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        live = "live" in request.GET
        template = "live" if live else "change_list"
        page = {} if live else self.page_context(request, _("Dashboard"))
        context = {**page, **self._figures(request), **(extra_context or {})}
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"admin/django_bgtasks/dashboard/{template}.html", context)

    def pause_view(self, request: HttpRequest, pause: bool) -> HttpResponse:
        """Pause or resume the queue that a button names, and return to the page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (self.has_view_permission(request) and self._may_pause(request)):
            raise PermissionDenied
        queue, backend = request.POST.get("queue", ""), self._backend(request.POST)
        if queue not in {known.name for known in take_snapshot(backend).queues}:
            return HttpResponseBadRequest(_("There is no such queue."))
        if self._set_paused(request, pause, queue, backend):
            text = _("The queue %s is paused.") if pause else _("The queue %s goes on.")
            messages.success(request, text % queue)
        url = reverse("admin:django_bgtasks_dashboard_changelist", current_app=self.admin_site.name)
        query = f"?range={self._range(request.POST)}&backend={backend}"
        return HttpResponseRedirect(url + query)

    def _set_paused(self, request: HttpRequest, pause: bool, queue: str, backend: str) -> bool:
        act = actions.pause_queue if pause else actions.resume_queue
        return act(queue, backend, by=actor_of(request.user)) is not None

    def _figures(self, request: HttpRequest) -> dict[str, Any]:
        backend, range_name = self._backend(request.GET), self._range(request.GET)
        site, sees_jobs = self.admin_site.name, request.user.has_perm("django_bgtasks.view_job")
        snapshot = take_snapshot(backend)
        return {
            "backend": backend,
            "backends": sorted(entries()),
            "range": range_name,
            "ranges": [(name, RANGE_LABELS[name]) for name in RANGES],
            "every": REFRESH_SECONDS,
            "at": snapshot.at,
            "may_pause": self._may_pause(request),
            "problems": panels.problems(snapshot),
            "tiles": panels.tiles(snapshot),
            "queues": panels.queues(snapshot, site),
            "pictures": panels.pictures(series(backend, range_name), range_name),
            "workers": panels.workers(snapshot, site, sees_jobs),
            "failures": panels.failures(snapshot, site, sees_jobs),
            "maintenance": panels.maintenance(snapshot),
        }

    def _may_pause(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("django_bgtasks.pause_queue"))

    def _backend(self, values: Any) -> str:
        name: str = values.get("backend", "")
        return name if name in entries() else default_backend()

    def _range(self, values: Any) -> str:
        name: str = values.get("range", "")
        return name if name in RANGES else "hour"
