"""What the dashboard says: one function for each of its sections."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..core.formats import NOTHING, duration, number, percent
from ..core.messages import message
from ..models import Job, Worker
from ..monitoring.diagnosis import diagnose
from ..monitoring.series import ChartPoint
from ..monitoring.snapshot import FailureGroup, RunningJob, Snapshot
from . import charts
from . import formatting as show
from .workers import HEALTH_LABELS

PROCESS_STATES = {
    "idle": gettext_lazy("idle"),
    "busy": gettext_lazy("busy"),
    "suspended": gettext_lazy("suspended"),
}
INTERVALS = {1: gettext_lazy("minute"), 10: gettext_lazy("10 minutes"), 60: gettext_lazy("hour")}


def problems(snapshot: Snapshot) -> list[dict[str, Any]]:
    """What is wrong, with its cure."""
    kinds = {"critical": "failed", "warning": "late"}
    labels = {"critical": _("Critical"), "warning": _("Warning")}
    return [
        {
            "code": problem.code,
            "badge": show.badge(kinds[problem.level], labels[problem.level]),
            "what": problem.what,
            "cure": show.with_code(problem.cure, problem.command),
        }
        for problem in diagnose(snapshot)
    ]


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


def queues(snapshot: Snapshot, site: str) -> list[dict[str, Any]]:
    """A row for each queue."""
    return [
        {
            "name": queue.name,
            "paused": queue.paused,
            "url": show.job_list(site, queue=queue.name),
            "queued": number(queue.queued),
            "oldest": duration(queue.oldest),
            "running": number(queue.running),
            "scheduled": number(queue.scheduled),
            "rate": number(queue.per_minute),
            "failed": percent(queue.failure_share),
            "messages": NOTHING if queue.messages is None else number(queue.messages),
        }
        for queue in snapshot.queues
    ]


def workers(snapshot: Snapshot, site: str, may_see_jobs: bool) -> list[dict[str, Any]]:
    """Each worker with its job processes and what they run."""
    names = {job.id: job.task.rpartition(".")[2] for job in snapshot.running}
    return [
        {
            "name": show.link(show.page_of(site, Worker, worker.id), worker.name),
            "badge": show.badge(worker.health, HEALTH_LABELS[worker.health]),
            "seen": _("%s ago") % duration(worker.seen),
            "started": _("%s ago") % duration(worker.started),
            "queues": worker.queues,
            "lost": worker.processes_lost,
            "processes": ngettext("%d process", "%d processes", worker.processes)
            % worker.processes,
            "job_processes": [
                (p.pid, PROCESS_STATES.get(p.state, p.state), names.get(p.job, ""))
                for p in worker.job_processes
            ],
            "jobs": [
                _running(job, site, may_see_jobs)
                for job in snapshot.running
                if job.worker == worker.id
            ],
        }
        for worker in snapshot.workers
    ]


def _running(job: RunningJob, site: str, may_see_jobs: bool) -> dict[str, Any]:
    url = show.page_of(site, Job, UUID(job.id)) if may_see_jobs else None
    return {
        "task": show.link(url, show.breakable(job.task)),
        "queue": job.queue,
        "duration": duration(job.seconds),
        "attempt": f"{job.attempt}/{job.max_attempts}",
    }


def failures(snapshot: Snapshot, site: str, may_see_jobs: bool) -> list[dict[str, Any]]:
    """Failed attempts that are alike. Their messages are for who may see the jobs."""
    return [
        {
            "count": number(group.count),
            "task": show.breakable(group.task),
            "queue": group.queue,
            "exception": group.exception,
            "message": message(group.code, group.params, group.message) if may_see_jobs else "",
            "retrying": _retrying(group, site, may_see_jobs),
            "last": _("%s ago") % duration(group.seconds),
            "job": show.page_of(site, Job, UUID(group.job)) if may_see_jobs else None,
        }
        for group in snapshot.failures
    ]


def _retrying(group: FailureGroup, site: str, may_see_jobs: bool) -> Any:
    linked = may_see_jobs and group.retrying
    url = show.job_list(site, state="retrying", task=group.task) if linked else None
    return show.link(url, number(group.retrying))


def maintenance(snapshot: Snapshot) -> list[tuple[str, str]]:
    """How the background tasks do."""
    tasks, redis = snapshot.maintenance, snapshot.redis
    beat = NOTHING if tasks.beat is None else _("%s ago") % duration(tasks.beat)
    address = redis.problem.text if redis.problem else redis.address
    return [
        (_("Last heartbeat"), beat),
        (_("Scheduled jobs that are overdue"), number(tasks.overdue)),
        (_("Jobs of workers that are gone"), number(tasks.orphans)),
        (_("Redis"), address if redis.used else _("not used")),
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
