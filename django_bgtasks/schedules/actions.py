"""What people and the site do to a schedule: set, pause, resume, remove, run now, make up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, TypeVar

from django.db.models import Model

from ..core.clock import in_utc
from ..core.errors import InvalidSchedule
from ..core.options import default_backend, stored_backends
from ..core.payload import fault_of
from ..core.timing import NAME_LENGTH, Cron, Every, Rule, Timing
from ..jobs.actions import By, acting
from ..jobs.discovery import try_to_discover
from ..jobs.enqueue import insert_built
from ..ledger import history, schedules
from ..ledger.connection import in_transaction
from ..ledger.lifecycle import ledger_database
from ..ledger.times import database_now
from ..models import HistoryVerb, Job, Schedule
from ..models.schedule import ScheduleSource
from .call import jobs_of, row_of, task_of
from .code import Declared, declared, declares
from .fire import announce_all, carrying_of
from .when import predicate_at

T = TypeVar("T")
# As many ticks are made up at once.
MOST = 1000
UNSET: Any = object()
# What names a schedule: its name, or its row.
Which = str | Schedule


def set_schedule(
    name: str,
    task: Any,
    timing: Timing,
    *,
    args: Sequence[Any] = UNSET,
    kwargs: Mapping[str, Any] | None = UNSET,
    owner: Model | None = UNSET,
    about: Model | None = UNSET,
    catch_up: str = UNSET,
    overlap: str = UNSET,
    grace: timedelta | None = UNSET,
    jitter: float = UNSET,
    when: Callable[[datetime], bool] | str | None = UNSET,
    by: By = None,
) -> Schedule:
    """Set a schedule in the current transaction: a new one, or another task, times, call or policy
    for that of this name.

    task: as for enqueue(); queue, priority and other options come with using(). timing: a Cron or
    an Every; args, kwargs and the policies may be given to it, or here. by: who wants it, for the
    history; None writes nothing there. That is so for each function here.
    Raises InvalidSchedule, InvalidArguments or InvalidTask, and then nothing is set.
    """
    if fault := fault_of(name, NAME_LENGTH):
        raise InvalidSchedule(f"The name of a schedule {fault}")
    if not isinstance(timing, Timing):
        raise InvalidSchedule(
            f'The schedule {name!r} takes Cron("0 6 * * *") or Every(minutes=10), not {timing!r}.'
        )
    policies: dict[str, Any] = {
        "args": args,
        "kwargs": kwargs,
        "catch_up": catch_up,
        "overlap": overlap,
        "grace": grace,
        "jitter": jitter,
        "when": when,
    }
    changes = {key: value for key, value in policies.items() if value is not UNSET}
    timing = replace(timing, **changes) if changes else timing
    people = {
        key: value for key, value in (("owner", owner), ("about", about)) if value is not UNSET
    }
    return save_schedule(row_of(name, task, timing, people), by=by)


def save_schedule(draft: Schedule, *, by: By = None) -> Schedule:
    """Write a schedule as this unsaved row has it, as a form does; see set_schedule().

    One of the code that is changed so stays as it is, whatever the code says, until use_code().
    """
    using = ledger_database()
    check_row(draft)

    def save() -> Schedule:
        row = schedules.named(draft.name, draft.backend, using)
        draft.overridden = row is not None and row.source == ScheduleSource.CODE
        if row is not None and draft.overridden and row.task != draft.task:
            raise InvalidSchedule(
                f"The schedule {row.name!r} is one of the code, of the task {row.task}. Give the "
                f"schedule of {draft.task} another name."
            )
        saved, is_changed = schedules.upsert(draft, using)
        if is_changed:
            _record(HistoryVerb.SCHEDULE_SET, by, saved, using)
        return saved

    return in_transaction(save, using)


def check_row(row: Schedule) -> None:
    """Raise InvalidSchedule, InvalidArguments or InvalidTask for a row that could not be fired."""
    names = ("catch_up", "overlap", "jitter")
    policies: dict[str, Any] = {name: getattr(row, name) for name in names}
    if row.cron:
        Cron(row.cron, zone=row.zone or None, **policies)
    else:
        Every(row.every, **policies)
    if row.when:
        predicate_at(row.when)
    try_to_discover()
    jobs_of(row, task_of(row), [], in_utc(database_now(ledger_database())))


def pause_schedule(schedule: Which, *, backend: str | None = None, by: By = None) -> bool:
    """Let a schedule have no ticks until it is resumed; at once, in all workers.

    schedule: its name. backend: its name in TASKS. False if it was paused before.
    Raises InvalidSchedule if there is none.
    """
    actor = acting(by)

    def act(row: Schedule, using: str) -> bool:
        return schedules.pause_row(row, actor.name if actor else "", using)

    return _act(schedule, backend, HistoryVerb.SCHEDULE_PAUSED, by, act)


def resume_schedule(schedule: Which, *, backend: str | None = None, by: By = None) -> bool:
    """Let a paused schedule go on with its first tick after now. False if it was not paused.

    Raises InvalidSchedule if there is none.
    """
    return _act(schedule, backend, HistoryVerb.SCHEDULE_RESUMED, by, schedules.resume_row)


def remove_schedule(schedule: Which, *, backend: str | None = None, by: By = None) -> bool:
    """Delete a schedule; the jobs that it has enqueued stay. False if there is none.

    Raises InvalidSchedule for one that the code declares: it would come again.
    """
    try:
        return _act(
            schedule,
            backend,
            HistoryVerb.SCHEDULE_REMOVED,
            by,
            schedules.remove_row,
            _refuse_declared,
        )
    except NoSchedule:
        return False


def run_schedule_now(schedule: Which, *, backend: str | None = None, by: By = None) -> Job | None:
    """Enqueue a job of a schedule now, whatever its times and policies say.

    Its tick is now. None if a job that is live holds its dedup key.
    Raises InvalidSchedule if there is none, and what enqueue() raises.
    """

    def run(row: Schedule, using: str) -> list[Job]:
        return _enqueue(row, [database_now(using)], using)

    jobs = _act(schedule, backend, HistoryVerb.SCHEDULE_RUN, by, run)
    return jobs[0] if jobs else None


def make_up(
    schedule: Which,
    start: datetime,
    end: datetime,
    *,
    backend: str | None = None,
    by: By = None,
) -> list[Job]:
    """Enqueue a job for each tick from start to end, both included, that has none.

    The ticks are those of the times that the schedule has now, at most 1,000 of them, and none
    that is yet to come. Returns the jobs. Raises InvalidSchedule, and what enqueue() raises.
    """

    def run(row: Schedule, using: str) -> list[Job]:
        ticks = Rule.of(row).between(start, min(in_utc(end), database_now(using)), MOST + 1)
        if len(ticks) > MOST:
            raise InvalidSchedule(
                f"The schedule {row.name!r} has more than {MOST} ticks in that time. Make up a "
                f"shorter one."
            )
        existing = schedules.ticks_with_a_job(row, ticks, using)
        missing = [tick for tick in ticks if tick not in existing]
        return _enqueue(row, missing, using) if missing else []

    if in_utc(start) > in_utc(end):
        raise InvalidSchedule(f"The time to make up ends before it begins: {start} to {end}.")
    return _act(schedule, backend, HistoryVerb.TICKS_MADE_UP, by, run)


def use_code(schedule: Which, *, backend: str | None = None, by: By = None) -> Schedule:
    """Let a schedule of the code be again what the code says. Returns its row.

    Raises InvalidSchedule if the code does not declare it.
    """

    def reset(row: Schedule, using: str) -> Schedule:
        return schedules.upsert(_declared(row).row(), using)[0]

    return _act(schedule, backend, HistoryVerb.SCHEDULE_RESET, by, reset)


class NoSchedule(InvalidSchedule):
    """There is no schedule of this name."""


def _act(
    schedule: Which,
    backend: str | None,
    verb: HistoryVerb,
    by: By,
    act: Callable[[Schedule, str], T],
    check: Callable[[Schedule], object] = bool,
) -> T:
    """Do it to the schedule and write it into the history: both or neither."""
    using = ledger_database()

    def act_and_record() -> T:
        row = _found(schedule, backend, using)
        check(row)
        done = act(row, using)
        if done:
            _record(verb, by, row, using)
        return done

    return in_transaction(act_and_record, using)


def _found(schedule: Which, backend: str | None, using: str) -> Schedule:
    """The row as it is now."""
    if isinstance(schedule, Schedule):
        name, backend, known = schedule.name, schedule.backend, schedule.pk
    else:
        name, backend, known = schedule, backend or default_backend(), None
    row = schedules.named(name, backend, using)
    if row is None or known not in (None, row.pk):
        rows = Schedule.objects.using(using).filter(backend__in=stored_backends(backend))
        near = get_close_matches(name, rows.values_list("name", flat=True), 3)
        cure = f" Is it {' or '.join(map(repr, near))}?" if near else ""
        raise NoSchedule(f"There is no schedule {name!r} of the backend {backend!r}.{cure}")
    return row


def _refuse_declared(row: Schedule) -> None:
    if row.source == ScheduleSource.CODE and try_declares(row):
        raise InvalidSchedule(
            f"The schedule {row.name!r} is in the code, at {row.task}, and would come again. Take "
            f"it out of the code, or pause it."
        )


def try_declares(row: Schedule) -> bool:
    """Whether the code declares this schedule, of which not all may be imported yet."""
    try_to_discover()
    return declares(row)


def _declared(row: Schedule) -> Declared:
    if row.source != ScheduleSource.CODE or not try_declares(row):
        raise InvalidSchedule(f"The code does not declare the schedule {row.name!r} any more.")
    return declared(row.backend)[row.name]


def _enqueue(row: Schedule, ticks: list[datetime], using: str) -> list[Job]:
    task = task_of(row)
    # Those of a schedule that was set carry its context; for one of the code it is who asks.
    with carrying_of(row):
        jobs = insert_built(jobs_of(row, task, ticks, ticks[-1]), task, using)
    announce_all(jobs, task)
    return jobs


def _record(verb: HistoryVerb, by: By, row: Schedule, using: str) -> None:
    if actor := acting(by):
        whats = [{"schedule": row.pk, "task": row.task, "detail": row.name}]
        history.record(verb, actor, whats, using)
