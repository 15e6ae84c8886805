"""The call of a schedule: its row keeps the task with its options and arguments, as JSON, and jobs
are built of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from ..core import clock
from ..core.errors import InvalidSchedule
from ..core.options import backend_of, default_backend
from ..core.payload import plain
from ..core.retry import Retry, retry_of, stored_retry
from ..core.states import State
from ..core.timing import Cron, Timing, jitter_of
from ..core.values import TYPED
from ..jobs.carried import carried_of, carry
from ..jobs.definition import when_path
from ..jobs.enqueue import build
from ..jobs.task import BackgroundTask, as_background_task, find_task
from ..jobs.typed import value_of
from ..models import Job, Schedule
from ..models.schedule import ScheduleSource

AnyTask = BackgroundTask[Any, Any]
# What a row keeps of using(). The owner and the subject have columns; a worker runs the job,
# whatever `inline` says; and when it runs is what the schedule says.
OPTIONS = (
    *("queue_name", "priority", "timeout", "retry", "expires", "label"),
    *("dedup_key", "dedup_scope", "on_duplicate", "on_crash"),
)
# The context that set_schedule() was called in, as a job's row has it.
CARRIED = "carried"


def row_of(
    name: str,
    task: Any,
    timing: Timing,
    people: Mapping[str, Any] | None = None,
    source: ScheduleSource = ScheduleSource.DYNAMIC,
) -> Schedule:
    """The unsaved row of a schedule. people: the `owner` of its jobs, and what they are `about`.

    Raises InvalidSchedule, InvalidArguments or InvalidTask.
    """
    task = _with_our_options(task)
    if task.run_after is not None:
        raise InvalidSchedule(
            f"{task.module_path}: using(run_after=...) is for one job. A schedule says itself when "
            f"its jobs run; use jitter to let them begin later."
        )
    call = replace(task, inline=False, **(people or {}))
    job = build(call, timing.args, timing.kwargs or {})
    options = options_of(call)
    if source == ScheduleSource.DYNAMIC and carried_of(job.backend):
        carry([job], job.backend, job.task)
        options |= {CARRIED: job.carried} if job.carried is not None else {}
    _check_expiry(call, timing.jitter)
    return Schedule(
        backend=job.backend,
        name=name,
        source=source,
        task=job.task,
        args=job.args,
        kwargs=job.kwargs,
        types=job.types,
        options=options,
        cron=timing.expression if isinstance(timing, Cron) else "",
        every=None if isinstance(timing, Cron) else timing.seconds,
        zone=(timing.zone or settings.TIME_ZONE) if isinstance(timing, Cron) else "",
        catch_up=timing.catch_up,
        overlap=timing.overlap,
        grace=None if timing.grace is None else timing.grace.total_seconds(),
        jitter=timing.jitter,
        when=when_path(timing.when),
        owner_id=job.owner_id,
        about_type_id=job.about_type_id,
        about_key=job.about_key,
    )


def options_of(task: AnyTask) -> dict[str, Any]:
    """What differs from the definition of the task, as JSON. Raises InvalidSchedule."""
    definition = as_background_task(find_task(task.module_path), task.backend)
    return {
        name: _stored(name, getattr(task, name), task.module_path)
        for name in OPTIONS
        if getattr(task, name) != getattr(definition, name)
    }


def task_of(row: Schedule) -> AnyTask:
    """The task of a schedule, with what its row says of its jobs.

    Raises TaskNotFound if it is not known here, and InvalidTask, TypeError or ValueError for
    options that are none.
    """
    task = as_background_task(find_task(row.task), backend_of(row.backend) or row.backend)
    options = {
        name: _restored(name, value) for name, value in row.options.items() if name in OPTIONS
    }
    if not options and not task.inline:
        return task
    return replace(task, inline=False, **options)


def jobs_of(row: Schedule, task: AnyTask, ticks: Sequence[datetime], now: datetime) -> list[Job]:
    """The unsaved jobs of a schedule for these ticks. now: by the database's clock.

    Raises InvalidArguments for a call that the task does not take any more, ObjectGone.
    """
    first = _built(row, task)
    first.schedule, first.owner_id = row.pk, row.owner_id
    first.about_type_id, first.about_key = row.about_type_id, row.about_key
    return [_at(first, row, tick, now) for tick in ticks]


def _built(row: Schedule, task: AnyTask) -> Job:
    if row.types == TYPED and (task.dedup_key is not None or task.label is not None):
        # A key or a label is made of the values.
        args, kwargs = value_of([row.args, row.kwargs])
        return build(replace(task, types="django"), args, kwargs)
    job = build(task if task.types == "json" else replace(task, types="json"), row.args, row.kwargs)
    job.types = row.types
    return job


def _at(first: Job, row: Schedule, tick: datetime, now: datetime) -> Job:
    job = copy(first)
    job.pk, job.tick = clock.new_id(), tick
    if row.jitter:
        start = tick + timedelta(seconds=jitter_of(row.pk, tick, row.jitter))
        if start > now:
            job.run_after, job.state = start, State.SCHEDULED
    return job


def _with_our_options(task: Any) -> AnyTask:
    """The task with our options; a plain one of the tasks API goes to a backend of ours."""
    if isinstance(task, BackgroundTask):
        return task
    if not hasattr(task, "module_path"):
        raise InvalidSchedule(
            f"A schedule needs a task, such as report or report.using(priority=5), not {task!r}."
        )
    return as_background_task(task, backend_of(task.backend) or default_backend())


def _check_expiry(task: AnyTask, jitter: float) -> None:
    expires: Any = task.expires
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    if seconds is not None and seconds <= jitter:
        raise InvalidSchedule(
            f"{task.module_path}: its jobs expire after {seconds:g} s, and the jitter lets them "
            f"wait for {jitter:g} s. Give less jitter, or a later end with .using(expires=...)."
        )


def _stored(name: str, value: Any, path: str) -> Any:
    if isinstance(value, Retry):
        return stored_retry(value)
    if isinstance(value, timedelta):
        return {"seconds": value.total_seconds()}
    if isinstance(value, datetime) or callable(value):
        raise InvalidSchedule(
            f"{path}: a schedule cannot keep using({name}={value!r}). Give a length of time or a "
            f"format string, or say it in @task()."
        )
    return plain(value)


def _restored(name: str, value: Any) -> Any:
    if name == "retry":
        return retry_of(value, None)
    return timedelta(**value) if isinstance(value, Mapping) else value
