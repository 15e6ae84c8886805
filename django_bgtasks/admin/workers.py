"""The admin of workers: who lives, who is late, who was lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from ..core import clock
from ..core.states import State
from ..ledger.times import Now
from ..models import Job, Worker
from . import formatting as show
from .listing import ReadOnlyAdmin

LABELS = {
    "alive": gettext_lazy("Alive"),
    "late": gettext_lazy("Late"),
    "stopped": gettext_lazy("Stopped"),
    "lost": gettext_lazy("Lost"),
}


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """One row per `bgworker`. Maintenance deletes old ones."""

    list_display = ("name", "health", "queue_names", "processes", "running", "seen", "started")
    ordering = ("-started_at",)
    fieldsets = (
        (None, {"fields": ("health", "why_idle", ("hostname", "pid", "backend"), "id")}),
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
        """With the database's time, which decides who lives, and the running jobs."""
        running = (
            Job.objects.filter(state=State.RUNNING, worker=OuterRef("pk"))
            .order_by()
            .values("worker")
            .annotate(number=Count("pk"))
            .values("number")
        )
        count = Coalesce(Subquery(running, output_field=IntegerField()), 0)
        rows: Any = super().get_queryset(request)
        return cast("QuerySet[Any]", rows.annotate(now=Now(), running_jobs=count))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Django's list, which also says when no worker is running."""
        context = {"bgtasks_no_worker": not is_any_alive(), **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description=gettext_lazy("worker"))
    def name(self, worker: Worker) -> str:
        """Host and process."""
        return str(worker)

    @admin.display(description=gettext_lazy("health"))
    def health(self, worker: Any) -> SafeString:
        """Alive while its last beat is no older than `dead_after`."""
        kind = health_of(worker, worker.now)
        return show.badge(kind, LABELS[kind])

    @admin.display(description=gettext_lazy("trouble"))
    def why_idle(self, worker: Worker) -> str:
        """Why its job processes end as soon as they start."""
        return worker.trouble.text if worker.trouble else show.NOTHING

    @admin.display(description=gettext_lazy("queues"))
    def queue_names(self, worker: Worker) -> SafeString | str:
        """Those it listens to, in its order."""
        names = ((queue,) for queue in worker.queues or ())
        return format_html_join(" ", '<span class="bgtasks-queue">{}</span>', names) or show.NOTHING

    @admin.display(description=gettext_lazy("running jobs"))
    def running(self, worker: Any) -> int | SafeString:
        """How many jobs it holds now."""
        count: int = worker.running_jobs
        return format_html("<b>{}</b>", count) if count else count

    @admin.display(description=gettext_lazy("last seen"))
    def seen(self, worker: Worker) -> SafeString | str:
        """In words."""
        return show.ago(worker.last_seen_at)

    @admin.display(description=gettext_lazy("started"))
    def started(self, worker: Worker) -> SafeString | str:
        """In words."""
        return show.ago(worker.started_at)

    @admin.display(description=gettext_lazy("started"))
    def time_started(self, worker: Worker) -> SafeString | str:
        """Exact, and in words."""
        return show.when(worker.started_at)

    @admin.display(description=gettext_lazy("last seen"))
    def time_seen(self, worker: Worker) -> SafeString | str:
        """Exact, and in words."""
        return show.when(worker.last_seen_at)

    @admin.display(description=gettext_lazy("stopped"))
    def time_stopped(self, worker: Worker) -> SafeString | str:
        """Exact, and in words."""
        return show.when(worker.stopped_at)

    @admin.display(description=gettext_lazy("lost"))
    def time_lost(self, worker: Worker) -> SafeString | str:
        """Exact, and in words."""
        return show.when(worker.lost_at)


def health_of(worker: Worker, now: Any) -> str:
    """Alive, late (silent, and not yet called dead), stopped or lost, at the database's `now`."""
    if worker.stopped_at is not None:
        return "stopped"
    if worker.lost_at is not None:
        return "lost"
    silent = clock.between(worker.last_seen_at, now)
    return "alive" if silent <= timedelta(seconds=worker.dead_after) else "late"


def is_any_alive() -> bool:
    """Whether any worker lives. Its table is small."""
    rows = Worker.objects.filter(stopped_at=None, lost_at=None).annotate(now=Now())
    return any(health_of(worker, worker.now) == "alive" for worker in rows)
