"""The rows of schedules: what sets, pauses and removes them, which are due, and the move of one.

Each write is conditional on the revision that was read: an edit applies at once, and no tick comes
of what is no longer so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, QuerySet, Value
from django.db.models.functions import Concat

from ..core.clock import in_utc
from ..core.faultpoints import fault_point
from ..core.options import stored_backends
from ..core.timing import Plan, Rule
from ..models import Job, Schedule
from ..models.schedule import Overlap
from .connection import retried
from .returning import current, insert_returning, skipping_locked
from .times import Now, SecondsBetween, database_now

# What says when the ticks are: another one has another next tick.
TIMES = ("cron", "every", "zone")
# What else a person or the code sets.
SETTINGS = (
    *TIMES,
    *("task", "args", "kwargs", "types", "options", "catch_up", "overlap", "grace", "jitter"),
    *("when", "owner_id", "about_type_id", "about_key", "overridden"),
)
NAME_TAKEN = "(backend, name)"
# How often a row is looked at again that changes at the same moment.
LOOKS = 20
LONGEST_ERROR = 255
NO_ERROR: dict[str, Any] = {"error": "", "refused_at": None}


def named(name: str, backend: str, using: str) -> Schedule | None:
    """The schedule of this name; None if there is none."""
    return current(_rows(backend, using).filter(name=name))


@retried
@fault_point("set schedule")
def upsert(
    draft: Schedule, using: str, may_change: Callable[[Schedule], bool] = lambda row: True
) -> tuple[Schedule, bool]:
    """Write a schedule: a new row, or what differs in that of its name. Returns the row, and
    whether anything was written.

    Other times begin with the first tick after now. Whatever else changes, the next tick stays: a
    deploy loses none. may_change: asked of the row that is there.
    """
    for _look in range(LOOKS):
        row = named(draft.name, draft.backend, using)
        if row is None:
            now = database_now(using)
            draft.anchor, draft.next_at = (
                now,
                Rule(draft.cron, draft.every, draft.zone, now).next_after(now),
            )
            if insert_returning(draft, "anchor", using, NAME_TAKEN):
                return Schedule.objects.using(using).get(pk=draft.pk), True
            continue
        if not may_change(row):
            return row, False
        changes = {
            name: getattr(draft, name)
            for name in SETTINGS
            if getattr(row, name) != getattr(draft, name)
        }
        if not changes:
            return row, False
        if not changes.keys().isdisjoint(TIMES):
            rule = Rule(draft.cron, draft.every, draft.zone, Rule.of(row).anchor)
            changes["next_at"] = rule.next_after(database_now(using))
        if _changed(row, using, **NO_ERROR, **changes):
            return Schedule.objects.using(using).get(pk=row.pk), True
    raise RuntimeError(f"The schedule {draft.name!r} changes all the time; try again.")


@retried
def rename_row(old: str, new: str, task: str, backend: str, using: str) -> bool:
    """Give a schedule of the code, whose task has another path now, its new name."""
    if named(new, backend, using) is not None:
        return False
    rows = _rows(backend, using).filter(name=old, source="code")
    return bool(rows.update(name=new, task=task, revision=F("revision") + 1))


@retried
def pause_row(row: Schedule, by: str, using: str) -> bool:
    """Let it have no ticks until it is resumed. False if it was paused before, or is gone."""
    running = Schedule.objects.using(using).filter(pk=row.pk, paused_at=None)
    changes = {"paused_at": Now(), "paused_by": by[:150], "revision": F("revision") + 1}
    return bool(running.update(**changes))


@retried
def resume_row(row: Schedule, using: str) -> bool:
    """Let it go on with the first tick after now. False if it was not paused, or is gone."""
    for _look in range(LOOKS):
        found = current(Schedule.objects.using(using).filter(pk=row.pk))
        if found is None or found.paused_at is None:
            return False
        next_at = Rule.of(found).next_after(database_now(using))
        if _changed(found, using, paused_at=None, paused_by="", **NO_ERROR, next_at=next_at):
            return True
    raise RuntimeError(f"The schedule {row.name!r} changes all the time; try again.")


@retried
def remove_row(row: Schedule, using: str) -> bool:
    """Delete it; the jobs that it has enqueued stay. False if it is gone."""
    return bool(Schedule.objects.using(using).filter(pk=row.pk)._raw_delete(using))


def due(
    backend: str,
    using: str,
    limit: int,
    now: datetime | None = None,
    without: Collection[UUID] = (),
    without_tasks: Collection[str] = (),
    *,
    lock: bool = False,
) -> list[Schedule]:
    """The schedules that are due, the one that waits longest first; at most `limit`.

    Each has `moment`, what the database's clock showed, and `is_live`: whether a job of it is not
    final. One whose tick waits for such a job is left out. now: in place of that clock, for tests.
    lock: for who is in a transaction; without those that somebody else has locked.
    """
    rows = _that_run(backend, using, without, without_tasks).filter(next_at__lte=now or Now())
    rows = rows.annotate(moment=Now()).order_by("next_at")
    found: list[Any] = list((skipping_locked(rows) if lock else rows)[:limit])
    for row in found if now is not None else ():
        row.moment = now
    return found


def seconds_to_next(
    backend: str,
    using: str,
    without: Collection[UUID] = (),
    without_tasks: Collection[str] = (),
    *,
    later: bool = False,
) -> float | None:
    """Seconds until the next schedule is due, 0 at least; None without one. By the database's
    clock. later: without those that are due already.
    """
    rows = _that_run(backend, using, without, without_tasks)
    rows = rows.filter(next_at__gt=Now()) if later else rows.filter(next_at__isnull=False)
    waits = rows.annotate(wait=SecondsBetween(Now(), "next_at")).order_by("next_at")
    wait: float | None = waits.values_list("wait", flat=True).first()
    return None if wait is None else max(0.0, wait)


@fault_point("move schedule")
def move(row: Schedule, plan: Plan, using: str, error: str = "") -> bool:
    """Let a schedule wait for what comes after the plan. False if somebody else has moved it, or
    edited, paused or removed it: then the plan is nobody's.

    error: why a tick got no job that should have got one.
    """
    here = Schedule.objects.using(using).filter(
        pk=row.pk, next_at=row.next_at, revision=row.revision, paused_at=None
    )
    changes: dict[str, Any] = {"next_at": plan.next_at, **_refusal(error)}
    if plan.ticks:
        changes["last_tick"] = plan.ticks[-1]
    if plan.skipped:
        changes["skipped"] = F("skipped") + plan.skipped
    return bool(here.update(**changes))


@retried
def count_skipped(row: Schedule, count: int, using: str) -> None:
    """So many more ticks got no job."""
    rows = Schedule.objects.using(using).filter(pk=row.pk)
    rows.update(skipped=F("skipped") + count)


@retried
def write_error(row: Schedule, error: str, using: str) -> None:
    """Say why the tick that is due gets no job yet."""
    rows = Schedule.objects.using(using).filter(pk=row.pk, revision=row.revision)
    rows.update(**_refusal(error))


def ticks_with_a_job(row: Schedule, ticks: Collection[datetime], using: str) -> set[datetime]:
    """Those of these ticks that have a job, in UTC: of an hour that comes twice each time is there
    twice, and without USE_TZ the two are equal in Python.
    """
    jobs = Job.objects.using(using).filter(schedule=row.pk, tick__in=list(ticks))
    return {in_utc(tick) for tick in jobs.values_list("tick", flat=True) if tick is not None}


def _refusal(error: str) -> dict[str, Any]:
    return {"error": error[:LONGEST_ERROR], "refused_at": Now()} if error else NO_ERROR


def _changed(row: Schedule, using: str, **changes: Any) -> bool:
    rows = Schedule.objects.using(using).filter(pk=row.pk, revision=row.revision)
    return bool(rows.update(revision=F("revision") + 1, **changes))


def _that_run(
    backend: str, using: str, without: Collection[UUID], without_tasks: Collection[str]
) -> QuerySet[Schedule]:
    """Those that are not paused, and whose tick does not wait for a job that is live."""
    # By an expression: in the index of names all of them would be read, to find the first few.
    rows = Schedule.objects.using(using).annotate(home=Concat("backend", Value("")))
    rows = rows.filter(home__in=stored_backends(backend), paused_at=None)
    live = Exists(Job.objects.filter(schedule=OuterRef("pk"), finished_at=None))
    rows = rows.annotate(is_live=live).exclude(overlap=Overlap.WAIT, is_live=True)
    rows = rows.exclude(pk__in=list(without)) if without else rows
    return rows.exclude(task__in=list(without_tasks)) if without_tasks else rows


def _rows(backend: str, using: str) -> QuerySet[Schedule]:
    return Schedule.objects.using(using).filter(backend__in=stored_backends(backend))
