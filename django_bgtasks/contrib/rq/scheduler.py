"""`get_scheduler()`: rq-scheduler's methods, for jobs for later and schedules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from ...core import clock
from ...core.errors import InvalidArguments
from ...core.options import default_backend, stored_backends
from ...core.payload import to_json
from ...core.states import State
from ...core.timing import NAME_LENGTH, Cron, Every, Timing
from .calls import FUNCTION_TASK, function_path
from .functions import refusals_of_function
from .queue import RqQueue, database

# What rq-scheduler takes out of the arguments of a call, and what it is called in a call of RQ's.
_OPTIONS = {
    "timeout": "job_timeout",
    "job_id": "job_id",
    "job_ttl": "ttl",
    "job_result_ttl": "result_ttl",
    "job_description": "description",
    "depends_on": "depends_on",
    "meta": "meta",
    "on_success": "on_success",
    "on_failure": "on_failure",
    "at_front": "at_front",
}


class RqScheduled:
    """A schedule, where RQ's code expects its job. row: of the schedule."""

    def __init__(self, row: Any) -> None:
        self.row = row

    def __repr__(self) -> str:
        return f"<RqScheduled {self.id}>"

    @property
    def id(self) -> str:
        """The name of the schedule."""
        return str(self.row.name)

    @property
    def func_name(self) -> str:
        """The dotted path of what it calls."""
        return str(self.row.args[0] if self.row.task == FUNCTION_TASK else self.row.task)

    @property
    def meta(self) -> dict[str, Any]:
        """Its times, as rq-scheduler keeps them."""
        row = self.row
        return {"cron_string": row.cron} if row.cron else {"interval": int(row.every)}

    def delete(self, **_: Any) -> None:
        """Remove the schedule."""
        RqScheduler().cancel(self)

    cancel = delete


class RqScheduler:
    """rq-scheduler's methods, on schedules and jobs of this package, without a process of its own.

    queue_name: of jobs that name none.
    """

    def __init__(self, queue_name: str = "default", **_: Any) -> None:
        self.queue_name = queue_name

    def enqueue_at(self, scheduled_time: datetime, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a call for a time; a naive one is in UTC. Returns its RqJob."""
        options = {new: kwargs.pop(old) for old, new in _OPTIONS.items() if old in kwargs}
        queue = RqQueue(kwargs.pop("queue_name", None) or self.queue_name)
        return queue.enqueue_options(func, args, kwargs, options, _aware(scheduled_time))

    def enqueue_in(self, time_delta: timedelta, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a call, to run after this time. Returns its RqJob."""
        return self.enqueue_at(clock.now() + time_delta, func, *args, **kwargs)

    def cron(self, cron_string: str, func: Any, *args: Any, **options: Any) -> RqScheduled:
        """Set a schedule: a cron expression, in the zone of the settings. See schedule()."""
        return self._set(Cron(cron_string, overlap="allow"), func, *args, **options)

    def schedule(
        self,
        scheduled_time: datetime,
        func: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        interval: float | None = None,
        **options: Any,
    ) -> Any:
        """Set a schedule: every `interval` seconds, from now on; without one, a job for that time.

        A schedule has the name `id`, or one that its call gives: to set it again changes it, and
        makes no second one. Raises InvalidArguments with repeat=.
        """
        if interval is not None:
            timing = Every(seconds=interval, overlap="allow")
            return self._set(timing, func, args, kwargs, **options)
        names = {"id": "job_id", "ttl": "job_ttl", "description": "job_description"}
        options = {names.get(name, name): value for name, value in options.items() if value}
        options.pop("result_ttl", None)
        return self.enqueue_at(scheduled_time, func, *(args or ()), **{**(kwargs or {}), **options})

    def _set(
        self,
        timing: Timing,
        func: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        repeat: int | None = None,
        queue_name: str | None = None,
        id: str | None = None,  # noqa: A002 - it is RQ's
        **options: Any,
    ) -> RqScheduled:
        from ...schedules.actions import set_schedule

        if repeat is not None:
            raise InvalidArguments(
                "repeat= ends a schedule after so many runs. Schedules have no number of runs "
                "here: let the task call remove_schedule(). See docs/moving.md."
            )
        for name in ("result_ttl", "use_local_timezone", "meta"):
            options.pop(name, None)
        path = func if isinstance(func, str) else function_path(getattr(func, "function", func))
        if id is None:
            call = to_json([path, repr(args), repr(kwargs), repr(timing)])
            id = f"{path}:{hashlib.sha256(call.encode()).hexdigest()[:8]}"  # noqa: A001
        queue = RqQueue(queue_name or self.queue_name)
        task, args, kwargs = queue.call_with(func, args or (), dict(kwargs or {}), options)
        with refusals_of_function(task, args):
            return RqScheduled(
                set_schedule(id[:NAME_LENGTH], task, timing, args=[*args], kwargs=kwargs)
            )

    def cancel(self, job: Any) -> None:
        """Remove a schedule, or cancel a job, by its name or id or the object itself."""
        from ...schedules.actions import remove_schedule
        from .handle import RqJob

        name = str(getattr(job, "id", job))
        if not remove_schedule(name) and (found := RqJob.find(name)) is not None:
            found.cancel()

    def get_jobs(self, until: Any = None, with_times: bool = False, **_: Any) -> Iterator[Any]:
        """The schedules and the jobs for later. until: a time, or a length of time from now.

        with_times: in pairs with when each is due next.
        """
        limit = clock.now() + until if isinstance(until, timedelta) else until
        for entry, due in self._entries():
            if limit is None or (due is not None and due <= _aware(limit)):
                yield (entry, due) if with_times else entry

    def count(self, until: Any = None) -> int:
        """How many there are."""
        return len(list(self.get_jobs(until)))

    def __contains__(self, job: Any) -> bool:
        name = str(getattr(job, "id", job))
        return any(entry.id == name for entry, _due in self._entries())

    def _entries(self) -> Iterator[tuple[Any, Any]]:
        from ...models import Job, Schedule
        from .handle import RqJob

        backends, using = stored_backends(default_backend()), database()
        for schedule in Schedule.objects.using(using).filter(backend__in=backends):
            yield RqScheduled(schedule), schedule.next_at
        jobs = Job.objects.using(using).filter(backend__in=backends, state=State.SCHEDULED)
        for job in jobs.order_by("run_after"):
            yield RqJob(job), job.run_after


def get_scheduler(name: str = "default", *_args: Any, **_options: Any) -> RqScheduler:
    """A scheduler for the jobs of a queue. What says where Redis is changes nothing."""
    return RqScheduler(name)


def _aware(moment: datetime) -> datetime:
    return timezone.make_aware(moment, UTC) if timezone.is_naive(moment) else moment
