"""The dashboard: what happens now and what happened lately, for who keeps the site running."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.options import entries
from ..jobs import actions
from ..ledger.lifecycle import ledger_database
from ..models import Dashboard
from ..monitoring.breakdown import break_down, is_known
from ..monitoring.diagnosis import diagnose, diagnose_part, queues_by_trouble
from ..monitoring.series import RANGES, series
from ..monitoring.snapshot import take_snapshot
from . import panels, part_panels
from .dashboard_batches import batches_panel
from .dashboard_links import chosen_backend, chosen_range, page_of_button
from .failures import FailureActions
from .transitions import actor_of

RANGE_LABELS = {
    "hour": gettext_lazy("Last hour"),
    "day": gettext_lazy("Last day"),
    "week": gettext_lazy("Last week"),
}
TEMPLATES = "admin/django_bgtasks/dashboard"
# How often the page looks again, in seconds, while somebody looks at it.
REFRESH_SECONDS = 3
# Problems beyond these are folded.
PROBLEMS_SHOWN = 8


@admin.register(Dashboard)
class DashboardAdmin(FailureActions):
    """One page, and one for each queue and task. It has its own permission, and another one to
    pause a queue.
    """

    def get_urls(self) -> list[URLPattern]:
        """The pages, and where their buttons go."""
        view = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("queue/", view(self.part_view), {"kind": "queue"}, name=f"{name}_queue"),
            path("task/", view(self.part_view), {"kind": "task"}, name=f"{name}_task"),
            path("pause/", view(self.pause_view), {"pause": True}, name=f"{name}_pause"),
            path("resume/", view(self.pause_view), {"pause": False}, name=f"{name}_resume"),
            path("failures/", view(self.failures_view), name=f"{name}_failures"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page, or only its sections for the script that keeps it up to date."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self._figures(request), **(extra_context or {})}
        return self._render(request, "overview", _("Dashboard"), context)

    def part_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """The page of the queue or the task (the kind) that the query string names."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        name = request.GET.get("name", "")
        title = (_("Queue %s") if kind == "queue" else _("Task %s")) % name
        return self._render(request, "part", title, self._part(request, kind, name))

    def pause_view(self, request: HttpRequest, pause: bool) -> HttpResponse:
        """Pause or resume the queue that a button names, and return to the page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (self.has_view_permission(request) and self._may_pause(request)):
            raise PermissionDenied
        queue, backend = request.POST.get("queue", ""), chosen_backend(request.POST)
        if queue not in {known.name for known in take_snapshot(backend).queues}:
            return HttpResponseBadRequest(_("There is no such queue."))
        if self._set_paused(request, pause, queue, backend):
            text = _("The queue %s is paused.") if pause else _("The queue %s goes on.")
            messages.success(request, text % queue)
        return HttpResponseRedirect(page_of_button(request, self.admin_site.name))

    def _set_paused(self, request: HttpRequest, pause: bool, queue: str, backend: str) -> bool:
        act = actions.pause_queue if pause else actions.resume_queue
        return act(queue, backend, by=actor_of(request.user)) is not None

    def _render(
        self, request: HttpRequest, sections: str, title: str, figures: dict[str, Any]
    ) -> HttpResponse:
        """A page with these sections, or the sections alone."""
        live = "live" in request.GET
        page = {} if live else self.page_context(request, title)
        page["sections"] = f"{TEMPLATES}/{sections}.html"
        request.current_app = self.admin_site.name
        template = f"{TEMPLATES}/{'live' if live else 'change_list'}.html"
        return TemplateResponse(request, template, {**page, **figures})

    def _figures(self, request: HttpRequest) -> dict[str, Any]:
        common = self._common(request)
        viewer, snapshot = common["viewer"], take_snapshot(common["backend"])
        found = diagnose(snapshot)
        queues = queues_by_trouble(snapshot, found)
        problems = panels.problems(found, viewer)
        return {
            **common,
            "at": snapshot.at,
            "inline": snapshot.inline,
            "problems": problems[:PROBLEMS_SHOWN],
            "more_problems": problems[PROBLEMS_SHOWN:],
            "tiles": panels.tiles(snapshot),
            "queues": panels.queues([q for q in queues if not q.is_idle], viewer),
            "idle_queues": panels.queues([q for q in queues if q.is_idle], viewer),
            "pictures": panels.pictures(series(viewer.backend, common["range"]), common["range"]),
            "workers": panels.worker_panels(snapshot.workers, snapshot, viewer),
            "failures": panels.failures(snapshot.failures, viewer),
            "limits": panels.limits(snapshot, viewer),
            "rates": panels.rates(snapshot, viewer),
            "batches": batches_panel(snapshot, viewer),
            "schedules": panels.schedules(snapshot, viewer),
            "maintenance": panels.maintenance(snapshot),
        }

    def _part(self, request: HttpRequest, kind: str, name: str) -> dict[str, Any]:
        common, using = self._common(request), ledger_database()
        viewer, snapshot = common["viewer"], take_snapshot(common["backend"])
        known = {queue.name: queue for queue in snapshot.queues} if kind == "queue" else {}
        if "\0" in name or not (
            name in known or (name and is_known(kind, name, viewer.backend, using))
        ):
            raise Http404(_("There is no such queue.") if kind == "queue" else _("No such task."))
        found = break_down(kind, name, viewer.backend, using)
        points = series(viewer.backend, common["range"], using, **{kind: name})
        problems = diagnose_part(snapshot, found.failures, **{kind: name})
        queues = [name] if kind == "queue" else [part for part, _period in found.parts]
        serving = [w for w in snapshot.workers if any(map(w.serves, queues))]
        return {
            **common,
            "at": snapshot.at,
            "inline": snapshot.inline,
            "kind": kind,
            "name": name,
            "self_query": urlencode({"name": name}) + "&",
            "problems": panels.problems(problems, viewer),
            "tiles": part_panels.part_tiles(found, known.get(name)),
            "states": part_panels.states(found, kind, name, viewer),
            "periods": part_panels.periods(found),
            "parts": part_panels.parts(found, kind, viewer),
            "pictures": panels.pictures(points, common["range"]),
            "failures": panels.failures(found.failures, viewer, **{kind: name}),
            "queue": known.get(name),
            "workers": panels.worker_panels(serving, snapshot, viewer),
        }

    def _common(self, request: HttpRequest) -> dict[str, Any]:
        backend, user = chosen_backend(request.GET), request.user
        sees_jobs = user.has_perm("django_bgtasks.view_job")
        return {
            "viewer": panels.DashboardViewer(
                self.admin_site.name,
                backend,
                sees_jobs,
                user.has_perm("django_bgtasks.view_schedule"),
                user.has_perm("django_bgtasks.view_batch"),
            ),
            "backend": backend,
            "backends": sorted(entries()),
            "range": chosen_range(request.GET),
            "ranges": [(name, RANGE_LABELS[name]) for name in RANGES],
            "every": REFRESH_SECONDS,
            "may_pause": self._may_pause(request),
            "group_actions": self.group_actions(request),
        }

    def _may_pause(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("django_bgtasks.pause_queue"))
