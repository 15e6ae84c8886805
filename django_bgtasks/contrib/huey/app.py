"""The tasks of this room, and what enqueues their calls: `HUEY`, as djhuey has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import update_wrapper, wraps
from typing import Any

from django.conf import settings

from ...core.aliases import register_aliases
from ...core.errors import InvalidArguments, InvalidSchedule
from ...core.states import State
from ...core.tags import RESULT, RESULTS
from ...jobs.task import task as background_task_of
from . import signals
from .crontab import HueyCrontab
from .locks import LimitedFunction, TaskLock, lock_task, rate_limit
from .performing import TaskOptions, call_step, extended, later_step, with_hooks
from .results import HueyChordResult, HueyResult, HueyResultGroup, HueyWaiting
from .signatures import CALL_OPTIONS, HueyChord, HueyGroup, HueySignature

_RETRIES = ("retries", "retry_delay", "retry_backoff")
# By the path of a function, the task that was made of it first.
_tasks: dict[str, HueyTask] = {}


class HueyTask:
    """A decorated function: a call enqueues a job of it, `.call_local()` runs it here.

    background_task: the task that stands in its module by its path.
    """

    background_task: Any = None

    def __init__(
        self,
        app: HueyApp,
        function: Any,
        options: TaskOptions,
        name: str | None,
        others: Mapping[str, Any],
        waits_for_commit: bool = False,
    ) -> None:
        if isinstance(function, HueyTask):
            function = function.func
        # Somebody may have put the names of another function onto the one that is under a lock.
        update_wrapper(self, function)
        self.path = f"{function.__module__}.{function.__qualname__}"
        self.name, self.waits_for_commit = name or function.__name__, waits_for_commit
        if isinstance(function, LimitedFunction):
            others = {**_limits(function, options), **others}
            function = function.function
        self.huey, self.options = app, options
        self.func: Callable[..., Any] = function
        self._others = dict(others)
        self.background_task = self._background_task()

    def _background_task(self) -> Any:
        path, alias = self.path, f"{self.__module__}.{self.name}"
        # Any text is a name for Huey; one of a job is a path.
        aliases = (alias,) if alias != path and self.name.isidentifier() else ()
        first = _tasks.setdefault(path, self)
        if first is not self and (first.func, first.options, first._others) == (
            self.func,
            self.options,
            self._others,
        ):
            # One function under two decorators: workers would find two tasks at its path.
            register_aliases(path, aliases)
            return first.background_task
        _tasks[path] = self
        perform = with_hooks(self.func, self.options, self)
        changes = {"types": "django", **self.options.changes(), **self._others}
        decorate: Any = background_task_of(**changes, aliases=aliases)
        return decorate(perform)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a job in the current transaction. Returns its HueyResult.

        eta, delay, retries, retry_delay, priority, expires and timeout among the keyword arguments
        are options, as Huey has them.
        """
        return self.huey.enqueue(self.s(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<HueyTask {self.background_task.module_path}>"

    def call_local(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function here and now."""
        return self.func(*args, **kwargs)

    def s(self, *args: Any, **kwargs: Any) -> HueySignature:
        """A call for later, or for a pipeline."""
        options = {name: kwargs.pop(name, None) for name in CALL_OPTIONS}
        return HueySignature(self, args, kwargs, options)

    def schedule(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        eta: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Any,
    ) -> Any:
        """Enqueue a job that runs at a time, or after so many seconds. Returns its HueyResult."""
        if eta is None and delay is None:
            if isinstance(args, datetime):
                eta = args
            elif isinstance(args, int | float | timedelta):
                delay = args
            else:
                raise ValueError("schedule() missing required eta= or delay=")
            args = None
        if kwargs is not None and not isinstance(kwargs, dict):
            raise ValueError("schedule() kwargs argument must be a dict.")
        if unknown := sorted(set(options) - set(CALL_OPTIONS)):
            raise TypeError(f"schedule() got an unexpected keyword argument {unknown[0]!r}")
        call = HueySignature(
            self, args or (), kwargs or {}, {**options, "eta": eta, "delay": delay}
        )
        return self.huey.enqueue(call)

    def map(self, it: Iterable[Any]) -> HueyResultGroup:
        """Enqueue a job for each: a tuple of arguments, or one argument."""
        calls = [self.s(*(item if isinstance(item, tuple) else (item,))) for item in it]
        return HueyResultGroup([self.huey.enqueue(call) for call in calls])

    def changes_with(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What these options of a call change of the task, as using() takes it."""
        named = {name: options[name] for name in (*_RETRIES, "priority") if name in options}
        changes: dict[str, Any] = {}
        if named:
            changed = replace(self.options, **named, expires=None).changes()
            changes = {name: changed[name] for name in ("retry", "priority") if name in changed}
        if "timeout" in options:
            changes["timeout"] = options["timeout"]
        return changes

    def revoke(self, *_args: Any, **_kwargs: Any) -> None:
        """Raise InvalidArguments: no task is revoked as a whole."""
        raise InvalidArguments(_WHOLE_TASK)

    restore = is_revoked = revoke


_WHOLE_TASK = (
    "No task is revoked as a whole: pause its queue with bgpause or pause_queue(), or its schedule "
    "with pause_schedule(). result.revoke() is for one job. See docs/moving.md."
)


class HueyApp:
    """What djhuey's functions are methods of. immediate: run jobs at once, in the process that
    enqueues them; by default as settings.HUEY says.
    """

    results = True

    def __init__(self) -> None:
        self._immediate: bool | None = None

    @property
    def name(self) -> str:
        """The name in settings.HUEY."""
        return str(_setting("name", "huey"))

    @property
    def utc(self) -> bool:
        """Whether crontabs are of UTC."""
        return bool(_setting("utc", True))

    @property
    def immediate(self) -> bool:
        """Whether jobs run at once, in the process that enqueues them."""
        if self._immediate is not None:
            return self._immediate
        # djhuey's own default, for a site whose settings name Huey by a dict.
        default = settings.DEBUG if isinstance(getattr(settings, "HUEY", None), dict) else False
        return bool(_setting("immediate", default))

    @immediate.setter
    def immediate(self, value: bool | None) -> None:
        self._immediate = value

    def task(
        self,
        retries: Any = 0,
        retry_delay: float = 0,
        retry_backoff: float = 0,
        priority: int | None = None,
        context: bool = False,
        name: str | None = None,
        expires: Any = None,
        timeout: float | None = None,
        **others: Any,
    ) -> Callable[[Any], HueyTask]:
        """Make a function at a module's top level a task: see HueyTask.

        retries: after exceptions. retry_delay: seconds, times retry_backoff for each further one.
        context: whether the function gets the job as `task`. expires: seconds, a timedelta or a
        time by which it must have begun. timeout: seconds. others: options of BackgroundTask.
        """
        if callable(retries):
            raise InvalidArguments("A task is decorated with @task(), and not with @task.")
        if "queue" in others:
            # As django-huey says it, which has several queues.
            others["queue_name"] = others.pop("queue")
        options = TaskOptions(
            retries, retry_delay, retry_backoff, priority, expires, timeout, context
        )
        return lambda function: HueyTask(self, function, options, name, others)

    def periodic_task(
        self, validate_datetime: Any, *args: Any, **options: Any
    ) -> Callable[[Any], HueyTask]:
        """A task that is enqueued by itself at the times of a crontab(). See task().

        The times are of UTC, unless settings.HUEY has utc=False. Raises InvalidSchedule for
        anything but a crontab() of this package.
        """
        if not isinstance(validate_datetime, HueyCrontab):
            raise InvalidSchedule(
                "A periodic task takes crontab(), imported from django_bgtasks.contrib.huey. For "
                "another rule write @db_task(schedule=Cron(..., when=is_due)). See docs/moving.md."
            )
        zone = "UTC" if self.utc else None
        return self.task(*args, **options, schedule=validate_datetime.schedule(zone))

    def on_commit_task(self, *args: Any, **options: Any) -> Callable[[Any], HueyTask]:
        """task(): every job of this package begins after the commit.

        With immediate=True it is the one that runs then, and not at once.
        """

        def decorate(function: Any) -> HueyTask:
            task: HueyTask = self.task(*args, **options)(function)
            task.waits_for_commit = True
            return task

        return decorate

    def context_task(
        self, obj: Any, as_argument: bool = False, **options: Any
    ) -> Callable[[Any], HueyTask]:
        """A task that runs within this context manager."""

        def decorate(function: Callable[..., Any]) -> HueyTask:
            @wraps(function)
            def within(*args: Any, **kwargs: Any) -> Any:
                with obj as value:
                    return function(*((value,) if as_argument else ()), *args, **kwargs)

            task: HueyTask = self.task(**options)(within)
            return task

        return decorate

    def enqueue(self, call: Any) -> Any:
        """Enqueue a call, a pipeline, a group or a chord, in the current transaction.

        Returns a HueyResult; for several jobs a HueyResultGroup, for a chord a HueyChordResult.
        """
        if isinstance(call, HueyGroup):
            return HueyResultGroup([self.enqueue(each) for each in call.tasks])
        if isinstance(call, HueyChord):
            return _enqueue_chord(call, self)
        results = [HueyResult(job_id) for job_id in _enqueue_pipeline(call.pipeline(), self)]
        return HueyResultGroup(results) if len(results) > 1 else results[0]

    def result(self, id: str, **options: Any) -> Any:  # noqa: A002
        """HueyResult.get(), by the id of a job."""
        return HueyResult(id).get(**options)

    def revoke(self, result: Any, *_args: Any, **_kwargs: Any) -> None:
        """Cancel the job of a result."""
        if isinstance(result, HueyTask):
            result.revoke()
        HueyResult(result.id).revoke()

    def revoke_by_id(self, id: str, *_args: Any, **_kwargs: Any) -> None:  # noqa: A002
        """Cancel a job by its id."""
        HueyResult(id).revoke()

    def is_revoked(self, result: Any, *_args: Any, **_kwargs: Any) -> bool:
        """Whether the job of a result, or with this id, was cancelled."""
        return HueyResult(getattr(result, "id", result)).is_revoked()

    def lock_task(self, lock_name: str, ttl: float | None = None) -> TaskLock:
        """See lock_task()."""
        return lock_task(lock_name, ttl)

    def is_locked(self, lock_name: str) -> bool:
        """Whether somebody holds this name."""
        return TaskLock(lock_name).is_locked()

    def pending(self, limit: int | None = None) -> list[HueyWaiting]:
        """The queued jobs."""
        return _in_state(State.QUEUED, limit)

    def scheduled(self, limit: int | None = None) -> list[HueyWaiting]:
        """The jobs that are for later."""
        return _in_state(State.SCHEDULED, limit)

    def pending_count(self) -> int:
        """How many jobs are queued."""
        return len(self.pending())

    def scheduled_count(self) -> int:
        """How many jobs are for later."""
        return len(self.scheduled())

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"HUEY of django_bgtasks.contrib.huey has no {name!r}. See docs/moving.md."
        )

    def __len__(self) -> int:
        return self.pending_count()

    def __bool__(self) -> bool:
        return True

    def flush(self) -> None:
        """Delete the jobs of tasks of this room that wait."""
        from ...jobs.actions import delete_jobs
        from ...ledger.lifecycle import ledger_database
        from ...models import Job

        rows = (
            Job.objects.using(ledger_database())
            .waiting()
            .filter(task__in=[*_tasks, call_step.module_path])
        )
        delete_jobs(dict(rows.values_list("pk", "state")))

    signal = staticmethod(signals.connect_signal)
    disconnect_signal = staticmethod(signals.disconnect_signal)
    pre_execute = staticmethod(signals.pre_execute)
    post_execute = staticmethod(signals.post_execute)
    on_startup = staticmethod(signals.on_startup)
    on_shutdown = staticmethod(signals.on_shutdown)
    rate_limit = staticmethod(rate_limit)


class HueyInstance(HueyApp):
    """What RedisHuey("name") and the like make: tasks of the same kind as HUEY's.

    immediate, utc: as Huey has them. Where its storage is means nothing here.
    """

    def __init__(
        self,
        name: str = "huey",
        results: bool = True,
        store_none: bool = False,
        utc: bool = True,
        immediate: bool = False,
        **_: Any,
    ) -> None:
        super().__init__()
        self._name, self._utc, self._immediate = name, utc, immediate

    @property
    def name(self) -> str:
        """The name that it was given."""
        return self._name

    @property
    def utc(self) -> bool:
        """Whether crontabs are of UTC."""
        return self._utc


HUEY = HueyApp()


def _limits(function: LimitedFunction, options: TaskOptions) -> dict[str, Any]:
    """A locked task of Huey's fails at once, unless it has retries, by which it waits."""
    found = dict(function.options)
    if "limit" in found and not options.retries:
        found["limit"] = replace(found["limit"], when_busy="skip")
    return found


def _setting(name: str, default: Any) -> Any:
    """What settings.HUEY says: a dict, or an instance of Huey's."""
    huey = getattr(settings, "HUEY", None)
    if isinstance(huey, dict):
        return huey.get(name, default)
    return default if huey is None else getattr(huey, name, default)


def _enqueue_pipeline(calls: Sequence[HueySignature], app: HueyApp) -> list[Any]:
    """Enqueue them one after another; the ids of their jobs."""
    first = calls[0]
    if app.immediate and not first.is_later:
        signals.send(signals.SIGNAL_ENQUEUED, first)
        return _run_pipeline(calls)
    if len(calls) == 1:
        ids = [_task_of(first).enqueue(*first.args, **first.kwargs).job.pk]
    else:
        from ...workflows.flow import chain

        ids = _jobs_of(chain(*steps_of(calls)).enqueue())
    first.id = str(ids[0])
    signals.send(signals.SIGNAL_ENQUEUED, first)
    if first.is_later:
        signals.send(signals.SIGNAL_SCHEDULED, first)
    return ids


def _run_pipeline(calls: Sequence[HueySignature]) -> list[Any]:
    """Run them here, one after another; behind one that fails all have its job."""
    from ...jobs.inline import enqueue_at_once

    call, *rest = calls
    task = _task_of(call)
    if call.of_task.waits_for_commit:
        result = task.using(inline=True).enqueue(*call.args, **call.kwargs)
    else:
        result = enqueue_at_once(task, call.args, call.kwargs)
    job = result.job
    if not rest:
        return [job.pk]
    if job.state != State.SUCCEEDED:
        return [job.pk] * len(calls)
    following = rest[0]
    args, kwargs = extended(following.args, following.kwargs, HueyResult(job.pk).get())
    following = HueySignature(following.of_task, args, kwargs, following.options)
    return [job.pk, *_run_pipeline([following, *rest[1:]])]


def _enqueue_chord(call: HueyChord, app: HueyApp) -> HueyChordResult:
    from ...workflows.flow import chain, group

    members = [each.pipeline() for each in call.tasks]
    callback = call.callback.pipeline()
    if app.immediate:
        ids = [_run_pipeline(member) for member in members]
        values = [HueyResult(job_ids[-1]).get() for job_ids in ids]
        ids.append(_run_pipeline([_with_value(callback[0], values), *callback[1:]]))
        flat = [job_id for job_ids in ids for job_id in job_ids]
    else:
        parts = [chain(*steps_of(member)) for member in members]
        flow = chain(group(*parts), *steps_of(callback, RESULTS))
        flat = _jobs_of(flow.enqueue())
    sizes = [len(member) for member in members]
    ends = [sum(sizes[: number + 1]) - 1 for number in range(len(sizes))]
    results = [HueyResult(flat[end]) for end in ends]
    return HueyChordResult(results, HueyResult(flat[sum(sizes)]))


def _with_value(call: HueySignature, value: Any) -> HueySignature:
    return HueySignature(call.of_task, (*call.args, value), call.kwargs, call.options)


def steps_of(calls: Sequence[HueySignature], value: Any = None) -> list[Any]:
    """The steps of a chain. value: what the first one gets, RESULTS behind a group."""
    steps = []
    for number, call in enumerate(calls):
        if number == 0 and value is None:
            steps.append(_task_of(call).step(*call.args, **call.kwargs))
            continue
        task, changes = call.of_task.background_task, call.changes()
        own = {name: getattr(task, name) for name in _OF_STEPS} | changes
        before = RESULT if number else value
        steps.append(later_step(task.module_path, call.args, call.kwargs, before, own))
    return steps


# What a step has of its task, which another one calls.
_OF_STEPS = ("queue_name", "priority", "retry", "timeout", "expires", "limit", "rate", "on_crash")


def _task_of(call: HueySignature) -> Any:
    return call.of_task.background_task.using(**call.changes())


def _jobs_of(handle: Any) -> list[Any]:
    """The ids of the jobs of a workflow, in the order of its steps."""
    from ...models import Batch, Job

    using = handle.using
    batches = Batch.objects.using(using).filter(root=handle.id).values_list("pk", flat=True)
    rows = Job.objects.using(using).filter(batch__in=[handle.id, *batches]).order_by("pk")
    return list(rows.values_list("pk", flat=True))


def _in_state(state: State, limit: int | None) -> list[HueyWaiting]:
    from ...ledger.lifecycle import ledger_database
    from ...models import Job

    paths = [*_tasks, call_step.module_path]
    rows = Job.objects.using(ledger_database()).filter(state=state, task__in=paths)
    return [HueyWaiting(row) for row in rows.order_by("pk")[:limit]]
