"""How the schedules of a backend stand: what is late, what fails, what can never run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext_lazy as _

from ..core.options import backend_of, stored_backends
from ..core.states import State
from ..jobs.discovery import try_to_discover
from ..jobs.task import known_task
from ..ledger.times import Now, SecondsBetween, after
from ..models import Job, Overlap, Schedule, ScheduleSource
from ..schedules.code import declared, declares
from .health import seconds_since

# Maintenance fires a tick within a second of its time.
LATE_AFTER = timedelta(seconds=10)
ACTIVE = Q(paused_at__isnull=True)
# In what state a schedule is: the first of these that is so.
STATES = {
    "paused": _("Paused"),
    "unknown-task": _("Task unknown"),
    "undeclared": _("Not in the code"),
    "refused": _("Without a job"),
    "ended": _("Over"),
    "late": _("Late"),
    "active": _("Active"),
}


@dataclass(frozen=True, slots=True)
class ScheduleTrouble:
    """Schedules that have the same trouble: how many, and the first of them, its id and name.

    code: one of STATES, or failing. of_code: how many of them the code declares. task: if all have
    the same. span: how late, in seconds. by: who has paused it. why: why a tick has no job.
    """

    code: str
    count: int
    id: str
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
        refused=Count("pk", filter=ACTIVE & Q(refused_at__isnull=False)),
        next_in=SecondsBetween(Now(), Min("next_at", filter=ACTIVE & Q(next_at__gt=Now()))),
    ))  # fmt: skip
    if not tasks:
        return NO_SCHEDULES
    states = ScheduleStates(rows, [task["task"] for task in tasks])
    codes = [
        code
        for code in ("late", "unknown-task", "undeclared", "failing", "refused", "ended", "paused")
        if any(task.get(code, True) for task in tasks)
    ]
    troubles = (_trouble(code, states.rows_in(code)) for code in codes)
    nexts = [
        task["next_in"]
        for task in tasks
        if task["next_in"] is not None and task["task"] not in states.unknown
    ]
    return SchedulesSnapshot(
        sum(task["number"] for task in tasks),
        min(nexts, default=None),
        tuple(trouble for trouble in troubles if trouble is not None),
    )


class ScheduleStates:
    """Which of some schedules are in which state. tasks: theirs, if they are known already.

    unknown: the tasks that the code of this process does not have. undeclared: the schedules of the
    code that it does not declare.
    """

    def __init__(self, rows: QuerySet[Schedule], tasks: Iterable[str] | None = None) -> None:
        self.rows, active = rows, rows.filter(ACTIVE)
        try_to_discover()
        if tasks is None:
            tasks = active.order_by().values_list("task", flat=True).distinct()
        self.unknown = [task for task in tasks if known_task(task) is None]
        self.undeclared = _undeclared(active.exclude(task__in=self.unknown))

    def rows_in(self, state: str) -> QuerySet[Schedule]:
        """Those in one of STATES, or whose last job has failed: "failing"."""
        active = self.rows.filter(ACTIVE)
        known = active.exclude(task__in=self.unknown).exclude(pk__in=self.undeclared)
        well = known.filter(refused_at=None)
        states: dict[str, Callable[[], QuerySet[Schedule]]] = {
            "paused": lambda: self.rows.exclude(ACTIVE),
            "unknown-task": lambda: active.filter(task__in=self.unknown),
            "undeclared": lambda: active.filter(pk__in=self.undeclared),
            "refused": lambda: known.filter(refused_at__isnull=False),
            "failing": lambda: failing(known),
            "ended": lambda: known.filter(next_at=None),
            "late": lambda: late(well),
            "active": lambda: well.filter(next_at__isnull=False).exclude(
                pk__in=late(well).order_by().values("pk")
            ),
        }
        return states[state]()


def with_lateness(rows: QuerySet[Any]) -> QuerySet[Any]:
    """With `late_by`, seconds since the next tick by the database's clock, and `is_live`, whether a
    job of it is not final: state_of() asks both.
    """
    is_live = Exists(Job.objects.filter(schedule=OuterRef("pk"), finished_at=None))
    found: QuerySet[Any] = rows.annotate(late_by=seconds_since("next_at"), is_live=is_live)
    return found


def state_of(row: Any) -> str:
    """One of STATES, of a row that is read with_lateness()."""
    if row.paused_at is not None:
        return "paused"
    if known_task(row.task) is None:
        return "unknown-task"
    if row.source == ScheduleSource.CODE and not declares(row):
        return "undeclared"
    if row.refused_at is not None:
        return "refused"
    if row.next_at is None:
        return "ended"
    # The tick of one that waits is in the past until the earlier job has ended.
    waits = row.overlap == Overlap.WAIT and row.is_live
    return "late" if row.late_by > LATE_AFTER.total_seconds() and not waits else "active"


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


def _undeclared(rows: QuerySet[Schedule]) -> list[UUID]:
    """Those of the code that the code of this process does not have."""
    of_code = rows.filter(source=ScheduleSource.CODE).values_list("pk", "backend", "name", "task")
    here: dict[str, set[tuple[str, str]]] = {}
    found = []
    for pk, backend, name, task in of_code:
        if backend not in here:
            ones = declared(backend_of(backend) or backend).values()
            here[backend] = {(one.name, one.task.module_path) for one in ones}
        if (name, task) not in here[backend]:
            found.append(pk)
    return found


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
        str(first.pk),
        first.name,
        first.task if sums["tasks"] == 1 else "",
        sums["of_code"],
        max(0.0, first.span or 0.0),
        first.paused_by,
        first.error,
    )
