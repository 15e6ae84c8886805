"""What the dashboard says: one function for each of its sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.formats import NOTHING, duration, from_now, number, percent
from ..core.messages import message
from ..models import AttemptOutcome, Batch, Job, LimitOverride, Schedule, Worker
from ..monitoring.failures import FailureGroup, FailureWindow
from ..monitoring.problems import Level, Problem, Target
from ..monitoring.schedules import STATES
from ..monitoring.series import ChartPoint
from ..monitoring.snapshot import QueueSnapshot, RunningJob, Snapshot, WorkerSnapshot
from ..monitoring.waits import WaitingLane
from . import charts
from . import formatting as show
from .choices import error_label
from .workers import HEALTH_LABELS

PROCESS_STATES = {
    "idle": gettext_lazy("idle"),
    "busy": gettext_lazy("busy"),
    "suspended": gettext_lazy("suspended"),
}
# What a problem can be about.
SUBJECTS = ("queue", "name", "task", "backend", "key")
INTERVALS = {1: gettext_lazy("minute"), 10: gettext_lazy("10 minutes"), 60: gettext_lazy("hour")}
# So many of the limits in which jobs wait longest.
LANES_SHOWN = 5
# Their badges.
LEVELS = {
    Level.CRITICAL: ("failed", gettext_lazy("Critical")),
    Level.WARNING: ("late", gettext_lazy("Warning")),
    Level.INFO: ("info", gettext_lazy("Note")),
}


@dataclass(frozen=True, slots=True)
class DashboardViewer:
    """Who looks, and where: the admin site, the backend, and what may be seen."""

    site: str
    backend: str
    may_see_jobs: bool
    may_see_schedules: bool = False
    may_see_batches: bool = False

    def jobs(self, **query: str) -> str | None:
        """The address of the job list with filters, for who may see jobs."""
        return show.job_list(self.site, **query) if self.may_see_jobs else None

    def job(self, job_id: str) -> str | None:
        """The address of a job, for who may see jobs."""
        return show.page_of(self.site, Job, UUID(job_id)) if self.may_see_jobs else None

    def schedules(self, **query: str) -> str | None:
        """The address of the list of schedules with filters, for who may see them."""
        url = show.list_of(self.site, Schedule) if self.may_see_schedules else None
        return f"{url}?{urlencode(query)}" if url and query else url

    def limits(self, **query: str) -> str | None:
        """The address of the page of limits with a search, for who may see jobs."""
        url = show.list_of(self.site, LimitOverride) if self.may_see_jobs else None
        return f"{url}?{urlencode(query)}" if url and query else url

    def schedule(self, schedule_id: str) -> str | None:
        """The address of a schedule, for who may see them."""
        may_see = self.may_see_schedules
        return show.page_of(self.site, Schedule, UUID(schedule_id)) if may_see else None

    def batches(self, **query: str) -> str | None:
        """The address of the list of workflows with filters, for who may see them."""
        url = show.list_of(self.site, Batch) if self.may_see_batches else None
        return f"{url}?{urlencode(query)}" if url and query else url

    def batch(self, batch_id: str) -> str | None:
        """The address of a workflow, for who may see them."""
        return show.page_of(self.site, Batch, UUID(batch_id)) if self.may_see_batches else None

    def part(self, kind: str, name: str) -> str | None:
        """The address of the page of a queue or a task."""
        return show.part_page(self.site, kind, name, self.backend)


def problems(found: Iterable[Problem], viewer: DashboardViewer) -> list[dict[str, Any]]:
    """What is wrong, with its cure, and where to look at it."""
    return [
        {
            "code": problem.code,
            "key": " ".join([problem.code, *filter(None, map(problem.params.get, SUBJECTS))]),
            "badge": show.badge(LEVELS[problem.level][0], LEVELS[problem.level][1]),
            "what": show.link(_target(problem.target, viewer), problem.what),
            "cure": show.with_code(problem.cure, problem.command),
        }
        for problem in found
    ]


def _target(target: Target | None, viewer: DashboardViewer) -> str | None:
    if target is None:
        return None
    query, pages = (
        target.query,
        {
            "batch": lambda: viewer.batch(query["id"]),
            "batches": lambda: viewer.batches(**query),
            "job": lambda: viewer.job(query["id"]),
            "jobs": lambda: viewer.jobs(**query),
            "limits": lambda: viewer.limits(**query),
            "queue": lambda: viewer.part("queue", query["name"]),
            "schedule": lambda: viewer.schedule(query["id"]),
            "schedules": lambda: viewer.schedules(**query),
            "worker": lambda: show.page_of(viewer.site, Worker, UUID(query["id"])),
            "workers": lambda: show.list_of(viewer.site, Worker),
        },
    )
    return pages[target.page]()


def tiles(snapshot: Snapshot) -> list[tuple[str, str]]:
    """The sums of all queues."""
    queues = snapshot.queues
    ended, failed = sum(q.ended for q in queues), sum(q.failed for q in queues)
    oldest = max((q.oldest for q in queues if q.oldest and not q.paused), default=None)
    return [
        (_("Workers alive"), number(snapshot.alive)),
        (_("Jobs running"), number(sum(q.running for q in queues))),
        (_("Jobs queued"), number(sum(q.queued for q in queues))),
        (_("Longest wait now"), duration(oldest)),
        (_("Ended per minute"), number(sum(q.per_minute for q in queues))),
        (_("Failed, last hour"), percent(failed / ended if ended else None)),
    ]


def queues(found: Iterable[QueueSnapshot], viewer: DashboardViewer) -> list[dict[str, Any]]:
    """A row for each of these queues."""
    return [_queue(queue, viewer) for queue in found]


def _queue(queue: QueueSnapshot, viewer: DashboardViewer) -> dict[str, Any]:
    failed = {"state": "failed", "queue": queue.name, "finished": "hour"}
    share = percent(queue.failure_share)
    return {
        "name": queue.name,
        "paused": queue.paused,
        "url": viewer.part("queue", queue.name),
        "queued": _listed(queue.queued, viewer, state="queued", queue=queue.name),
        "oldest": duration(queue.oldest),
        "running": _listed(queue.running, viewer, state="running", queue=queue.name),
        "scheduled": _listed(queue.scheduled, viewer, state="scheduled", queue=queue.name),
        "rate": number(queue.per_minute),
        "failed": show.link(viewer.jobs(**failed), share) if queue.failed else share,
        "messages": NOTHING if queue.messages is None else number(queue.messages),
    }


def _listed(count: int, viewer: DashboardViewer, **query: str) -> Any:
    """A number, behind which are the jobs."""
    return show.link(viewer.jobs(**query) if count else None, number(count))


def worker_panels(
    found: Iterable[WorkerSnapshot], snapshot: Snapshot, viewer: DashboardViewer
) -> list[dict[str, Any]]:
    """Each of these workers with its job processes and what they run."""
    names = {job.id: job.task.rpartition(".")[2] for job in snapshot.running}
    return [
        {
            "name": show.link(show.page_of(viewer.site, Worker, UUID(worker.id)), worker.name),
            "badge": show.badge(worker.health, HEALTH_LABELS[worker.health]),
            "seen": _("%s ago") % duration(worker.seen),
            "started": _("%s ago") % duration(worker.started),
            "queues": worker.queues,
            "serves_all": worker.serves_all,
            "lost": worker.processes_lost,
            "processes": ngettext("%d process", "%d processes", worker.processes)
            % worker.processes,
            "job_processes": [
                (p.pid, PROCESS_STATES.get(p.state, p.state), names.get(p.job, ""))
                for p in worker.job_processes
            ],
            "jobs": [_running(job, viewer) for job in snapshot.running if job.worker == worker.id],
        }
        for worker in found
    ]


def _running(job: RunningJob, viewer: DashboardViewer) -> dict[str, Any]:
    return {
        "task": show.link(viewer.job(job.id), show.breakable(job.task)),
        "label": job.label if viewer.may_see_jobs else "",
        "queue": job.queue,
        "duration": duration(job.seconds),
        "attempt": f"{job.attempt}/{job.max_attempts}",
    }


def failures(window: FailureWindow, viewer: DashboardViewer, **part: str) -> dict[str, Any]:
    """Failed attempts that are alike. Their messages are for who may see the jobs.

    part: the `queue` or the `task` whose failures they are, if not all of them.
    """
    return {
        "span": duration(window.seconds),
        "period": window.period,
        "more": window.more,
        "queue": part.get("queue", ""),
        "groups": [_failure(group, window, viewer, part) for group in window.groups],
    }


def _failure(
    group: FailureGroup, window: FailureWindow, viewer: DashboardViewer, part: Mapping[str, str]
) -> dict[str, Any]:
    kind = {**part, "task": group.task, "error": group.error}
    failed = {"state": "failed", **kind, "finished": window.period}
    text = message(group.code, group.params, group.message) if viewer.may_see_jobs else ""
    outcome = AttemptOutcome(group.outcome).label
    return {
        "key": f"{group.task} {group.error}",
        "task": group.task,
        "task_link": show.link(viewer.part("task", group.task), show.breakable(group.task)),
        "queue": group.queue or _("several queues"),
        "error": group.error,
        "exception": show.breakable(str(error_label(group.error) or outcome)),
        "message": text,
        "count": number(group.count),
        "is_failed": group.failed > 0,
        "failed": _listed(group.failed, viewer, **failed),
        "retrying": _listed(group.retrying, viewer, **{"state": "retrying", **kind}),
        "list": viewer.jobs(**(failed if group.failed else kind)) if group.error else None,
        "last": show.link(viewer.job(group.job), _("%s ago") % duration(group.seconds)),
    }


def schedules(snapshot: Snapshot, viewer: DashboardViewer) -> dict[str, Any]:
    """How many schedules there are, when the next one is due, and how many are in which trouble."""
    found = snapshot.schedules
    labels = {**STATES, "failing": _("Failing")}
    return {
        "count": show.link(viewer.schedules(), number(found.count)) if found.count else "",
        "next": _("in %s") % duration(found.next_in) if found.next_in is not None else NOTHING,
        "troubles": [
            {
                "badge": show.badge(trouble.code, labels[trouble.code]),
                "count": show.link(viewer.schedules(state=trouble.code), number(trouble.count)),
                "first": show.link(viewer.schedule(trouble.id), trouble.name)
                if viewer.may_see_schedules
                else "",
            }
            for trouble in found.troubles
        ],
    }


def limits(snapshot: Snapshot, viewer: DashboardViewer) -> dict[str, Any] | None:
    """Where jobs wait longest for a place, and how many sequences a failed job holds; None where
    nobody waits.
    """
    waits = snapshot.waits
    if not waits.lanes:
        return None
    list_url = viewer.jobs(state="holding") if waits.held_sequences else None
    return {
        "url": viewer.limits(),
        "waiting": viewer.jobs(state="waits"),
        "held_sequences": show.link(list_url, number(waits.held_sequences)),
        "is_any_held": waits.held_sequences > 0,
        "lanes": [_lane(lane, viewer) for lane in waits.lanes[:LANES_SHOWN]],
    }


def rates(snapshot: Snapshot, viewer: DashboardViewer) -> list[dict[str, Any]]:
    """The rates for which jobs wait longest, and when the next of them may start."""
    return [
        {
            "key": rate.key,
            "link": show.link(viewer.limits(q=rate.key), rate.key),
            "started": f"{number(rate.started)} / {number(rate.allowed)}",
            "per": duration(rate.per),
            "waiting": number(rate.waiting) + ("+" if rate.is_more else ""),
            "oldest": duration(rate.oldest),
            "next_start": from_now(rate.next_start),
        }
        for rate in snapshot.waits.rates[:LANES_SHOWN]
    ]


def _lane(lane: WaitingLane, viewer: DashboardViewer) -> dict[str, Any]:
    waiting = number(lane.waiting) + ("+" if lane.is_more else "")
    return {
        "key": lane.key,
        "link": show.link(viewer.limits(q=lane.key), lane.key),
        "places": f"{number(lane.in_use)} / "
        f"{NOTHING if lane.allowed is None else number(lane.allowed)}",
        "waiting": show.link(viewer.jobs(state="waits", lane=lane.key), waiting),
        "oldest": duration(lane.oldest),
        "held_by": show.link(viewer.job(lane.held_by), _("a failed job")) if lane.held_by else "",
    }


def maintenance(snapshot: Snapshot) -> list[tuple[str, str]]:
    """How the background tasks do."""
    tasks, redis = snapshot.maintenance, snapshot.redis
    beat = NOTHING if tasks.beat is None else _("%s ago") % duration(tasks.beat)
    about_redis = redis.problem or redis.note
    return [
        (_("Last heartbeat"), beat),
        (_("Scheduled jobs that are overdue"), number(tasks.overdue)),
        (_("Jobs of workers that are gone"), number(tasks.orphans)),
        (_("Redis"), about_redis.text if about_redis else redis.address),
    ]


def pictures(points: list[ChartPoint], name: str) -> list[dict[str, Any]]:
    """The charts of a range, each with its table."""
    times = [_time(point.start, name) for point in points]
    return [_throughput(points, times), _latency(points, times), _failed(points, times)]


def _throughput(points: list[ChartPoint], times: list[str]) -> dict[str, Any]:
    layers = [
        charts.Layer(_("succeeded"), "bgtasks-succeeded", [p.succeeded for p in points]),
        charts.Layer(_("cancelled"), "bgtasks-cancelled", [p.cancelled for p in points]),
        charts.Layer(_("failed"), "bgtasks-failed", [p.failed for p in points]),
    ]
    total = sum(point.ended for point in points)
    says = ngettext("%d job ended.", "%d jobs ended.", total) % total
    unit = INTERVALS[points[0].minutes]
    title = _("Jobs that ended, per %s") % unit
    scale = charts.counting(max(point.ended for point in points), number)
    svg = charts.bars("bgtasks-throughput", title, says, layers, scale, times)
    return _picture(title, says, svg, layers, times, number)


def _latency(points: list[ChartPoint], times: list[str]) -> dict[str, Any]:
    layers = [
        charts.Layer(_("wait, median"), "bgtasks-wait", [p.waits[0] for p in points]),
        charts.Layer(_("wait, 95 %"), "bgtasks-wait bgtasks-dashed", [p.waits[1] for p in points]),
        charts.Layer(_("run, median"), "bgtasks-run", [p.runs[0] for p in points]),
        charts.Layer(_("run, 95 %"), "bgtasks-run bgtasks-dashed", [p.runs[1] for p in points]),
    ]
    known = [value for layer in layers for value in layer.values if value is not None]
    longest = max((value for value in layers[1].values if value is not None), default=None)
    says = _("Longest wait (95 %%): %s.") % duration(longest)
    title = _("How long jobs wait and run")
    scale = charts.by_magnitude(known, _short)
    svg = charts.lines("bgtasks-latency", title, says, layers, scale, times)
    return _picture(title, says, svg, layers, times, duration)


def _failed(points: list[ChartPoint], times: list[str]) -> dict[str, Any]:
    layers = [charts.Layer(_("failed"), "bgtasks-failed", [p.failed for p in points])]
    total = sum(point.failed for point in points)
    says = ngettext("%d job failed.", "%d jobs failed.", total) % total
    title = _("Jobs that failed, per %s") % INTERVALS[points[0].minutes]
    scale = charts.counting(max(point.failed for point in points), number)
    svg = charts.bars("bgtasks-failures", title, says, layers, scale, times)
    return _picture(title, says, svg, layers, times, number)


def _picture(
    title: str, says: str, svg: Any, layers: list[charts.Layer], times: list[str], text: Any
) -> dict[str, Any]:
    rows = [
        (time, [text(value) if value is not None else NOTHING for value in values])
        for time, *values in zip(times, *(layer.values for layer in layers), strict=True)
        if any(values)
    ]
    return {"title": title, "says": says, "svg": svg, "layers": layers, "rows": rows[::-1]}


def _time(start: datetime, name: str) -> str:
    local = localtime(start)
    return f"{date_format(local, 'D j')} {local:%H:%M}" if name == "week" else f"{local:%H:%M}"


def _short(seconds: float) -> str:
    """A power of ten, for the axis."""
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
