"""How the schedules of a backend stand: what is late, what fails, what can never run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet, Subquery

from ..core.options import stored_backends
from ..core.states import State
from ..jobs.discovery import try_to_discover
from ..jobs.task import known_task
from ..ledger.times import Now, SecondsBetween, after
from ..models import Job, Overlap, Schedule, ScheduleSource
from ..schedules.code import declared

# Maintenance fires a tick within a second of its time.
LATE_AFTER = timedelta(seconds=10)
ACTIVE = Q(paused_at__isnull=True)


@dataclass(frozen=True, slots=True)
class ScheduleTrouble:
    """Schedules that have the same trouble: how many, and the first of them.

    code: late, unknown-task, undeclared, refused, failing, ended or paused. of_code: how many of
    them the code declares. task: if all have the same. span: how late, in seconds. by: who has
    paused it. why: why a tick has no job.
    """

    code: str
    count: int
    name: str
    task: str = ""
    of_code: int = 0
    span: float = 0.0
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class SchedulesSnapshot:
    """The schedules of a backend. next_in: seconds until the next tick of any; None if none is."""

    count: int = 0
    next_in: float | None = None
    troubles: tuple[ScheduleTrouble, ...] = ()


NO_SCHEDULES = SchedulesSnapshot()


def take_schedules(backend: str, using: str) -> SchedulesSnapshot:
    """How they stand now. A site without schedules pays one statement."""
    rows = schedules_of(backend, using).order_by("source", "name")
    tasks: list[Any] = list(rows.order_by().values("task").annotate(
        number=Count("pk"),
        paused=Count("pk", filter=~ACTIVE),
        ended=Count("pk", filter=ACTIVE & Q(next_at__isnull=True)),
        refused=Count("pk", filter=ACTIVE & ~Q(error="")),
        next_in=SecondsBetween(Now(), Min("next_at", filter=ACTIVE)),
    ))  # fmt: skip
    if not tasks:
        return NO_SCHEDULES
    active = rows.filter(ACTIVE)
    unknown = [task["task"] for task in tasks if known_task(task["task"]) is None]
    undeclared = _undeclared(active.exclude(task__in=unknown), backend)
    healthy = active.exclude(task__in=unknown).exclude(pk__in=undeclared)
    found = {
        "late": late(healthy.filter(error="")),
        "unknown-task": active.filter(task__in=unknown),
        "undeclared": active.filter(pk__in=undeclared),
        "failing": failing(healthy),
    }
    others = {"refused": healthy.exclude(error=""), "ended": healthy.filter(next_at=None)}
    others["paused"] = rows.exclude(ACTIVE)
    found |= {code: those for code, those in others.items() if any(task[code] for task in tasks)}
    troubles = (_trouble(code, those) for code, those in found.items())
    return SchedulesSnapshot(
        sum(task["number"] for task in tasks),
        min((task["next_in"] for task in tasks if task["next_in"] is not None), default=None),
        tuple(trouble for trouble in troubles if trouble is not None),
    )


def schedules_of(backend: str, using: str) -> QuerySet[Schedule]:
    """The schedules of a backend, whichever of its names they have."""
    return Schedule.objects.using(using).filter(backend__in=stored_backends(backend))


def late(rows: QuerySet[Schedule]) -> QuerySet[Schedule]:
    """Those of which a tick should have got its job: not those that wait for an earlier one."""
    live = Job.objects.filter(schedule=OuterRef("pk"), finished_at=None)
    waits = Q(Exists(live), overlap=Overlap.WAIT)
    return rows.filter(ACTIVE, next_at__lt=after(-LATE_AFTER)).exclude(waits).order_by("next_at")


def failing(rows: QuerySet[Schedule]) -> QuerySet[Schedule]:
    """Those whose last job has failed."""
    return rows.annotate(last=_last_job("state")).filter(last=State.FAILED)


def last_jobs(rows: Iterable[Schedule], using: str) -> dict[UUID, Job]:
    """Of each of these schedules the last job, if there still is one."""
    schedules = Schedule.objects.using(using).filter(pk__in=[row.pk for row in rows])
    last = list(schedules.annotate(last=_last_job("pk")).values_list("last", flat=True))
    jobs = Job.objects.using(using).filter(pk__in=last)
    return {job.schedule: job for job in jobs if job.schedule is not None}


def _last_job(field: str) -> Subquery:
    """Of the job with the latest tick: one that a person has run has one, too."""
    jobs = Job.objects.filter(schedule=OuterRef("pk"), tick__isnull=False).order_by("-tick")
    return Subquery(jobs.values(field)[:1])


def _undeclared(rows: QuerySet[Schedule], backend: str) -> list[UUID]:
    """Those of the code that the code of this process does not have."""
    of_code = list(rows.filter(source=ScheduleSource.CODE).values_list("pk", "name", "task"))
    if not of_code:
        return []
    try_to_discover()
    here = {(one.name, one.task.module_path) for one in declared(backend).values()}
    return [pk for pk, name, task in of_code if (name, task) not in here]


def _trouble(code: str, rows: QuerySet[Schedule]) -> ScheduleTrouble | None:
    """How many they are, and the first of them; None if there are none."""
    first: Any = rows.annotate(span=SecondsBetween("next_at", Now())).first()
    if first is None:
        return None
    of_code = Count("pk", filter=Q(source=ScheduleSource.CODE))
    sums = rows.order_by().aggregate(
        count=Count("pk"), of_code=of_code, tasks=Count("task", distinct=True)
    )
    return ScheduleTrouble(
        code,
        sums["count"],
        first.name,
        first.task if sums["tasks"] == 1 else "",
        sums["of_code"],
        max(0.0, first.span or 0.0),
        first.paused_by,
        first.error,
    )
