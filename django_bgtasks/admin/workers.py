"""The admin of workers: who lives, who is late, who was lost."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.formats import NOTHING
from ..core.states import State
from ..models import Job, Worker
from ..monitoring.health import WorkerHealth, seconds_since, worker_health
from . import formatting as show
from .listing import WatchedAdmin

HEALTH_LABELS = {
    WorkerHealth.ALIVE: gettext_lazy("Alive"),
    WorkerHealth.LATE: gettext_lazy("Late"),
    WorkerHealth.STOPPED: gettext_lazy("Stopped"),
    WorkerHealth.LOST: gettext_lazy("Lost"),
}


@admin.register(Worker)
class WorkerAdmin(WatchedAdmin):
    """One row per `bgworker`. Maintenance deletes old ones."""

    list_display = ("name", "health", "queue_names", "processes", "running", "last_seen", "started")
    ordering = ("-started_at",)
    fieldsets = (
        (None, {"fields": ("health", "why_idle", ("hostname", "process_id", "backend"), "id")}),
        (
            gettext_lazy("Work"),
            {"fields": ("queue_names", ("processes", "running", "processes_lost"))},
        ),
        (
            gettext_lazy("Times"),
            {"fields": (("time_started", "time_seen"), ("time_stopped", "time_lost"))},
        ),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: the jobs of a worker without a row would be taken from it."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the time since the last heartbeat, by the database's clock, and the running jobs."""
        running = (
            Job.objects.filter(state=State.RUNNING, worker=OuterRef("pk"))
            .order_by()
            .values("worker")
            .annotate(number=Count("pk"))
            .values("number")
        )
        count = Coalesce(Subquery(running, output_field=IntegerField()), 0)
        rows: Any = super().get_queryset(request)
        found: QuerySet[Any] = rows.annotate(seen=seconds_since("last_seen_at"), running_jobs=count)
        return found

    @admin.display(description=gettext_lazy("worker"))
    def name(self, worker: Worker) -> str:
        """Host and process."""
        return str(worker)

    @admin.display(description=gettext_lazy("health"))
    def health(self, worker: Any) -> SafeString:
        """Alive while its last beat is no older than `dead_after`."""
        kind = worker_health(worker)
        return show.badge(kind, HEALTH_LABELS[kind])

    @admin.display(description=gettext_lazy("trouble"))
    def why_idle(self, worker: Worker) -> str:
        """Why its job processes end as soon as they start."""
        return worker.trouble.text if worker.trouble else NOTHING

    @admin.display(description=gettext_lazy("queues"))
    def queue_names(self, worker: Worker) -> SafeString | str:
        """Those it listens to, in its order."""
        if worker.serves_all:
            return _("All queues")
        names = ((queue,) for queue in worker.queues or ())
        return format_html_join(" ", '<span class="bgtasks-queue">{}</span>', names) or NOTHING

    @admin.display(description=gettext_lazy("running jobs"))
    def running(self, worker: Any) -> int | SafeString:
        """How many jobs it holds now."""
        count: int = worker.running_jobs
        return format_html("<b>{}</b>", count) if count else count

    # A number of a process has no separators of thousands.
    process_id = show.column("pid", gettext_lazy("process id"), str)
    last_seen = show.column("last_seen_at", gettext_lazy("last seen"), show.ago)
    started = show.column("started_at", gettext_lazy("started"), show.ago)
    time_started = show.column("started_at", gettext_lazy("started"), show.when)
    time_seen = show.column("last_seen_at", gettext_lazy("last seen"), show.when)
    time_stopped = show.column("stopped_at", gettext_lazy("stopped"), show.when)
    time_lost = show.column("lost_at", gettext_lazy("lost"), show.when)
