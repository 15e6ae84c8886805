"""`get_queue()` and what RQ's Queue has: enqueue in its forms, and a look at what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone

from ...core import clock
from ...core.errors import DuplicateJob, InvalidArguments
from ...core.options import default_backend, stored_backends
from ...core.states import State
from ...jobs.task import declare_queue, runs_inline
from ...transport.rq_names import DuplicateJobError
from .calls import (
    CALL_OPTIONS,
    CallOptions,
    DecoratedFunction,
    NoConnection,
    function_path,
    get_connection,
    instance_of,
    is_test,
    queue_settings,
    read_options,
    timeout_seconds,
)
from .functions import call_function, refusals_of_function, sign

_COMMIT_MODES = ("auto", "on_db_commit", "request_finished")
# The states of RQ's registries.
_REGISTRIES = {
    "failed_job_registry": State.FAILED,
    "started_job_registry": State.RUNNING,
    "finished_job_registry": State.SUCCEEDED,
    "scheduled_job_registry": State.SCHEDULED,
    "deferred_job_registry": State.BLOCKED,
    "canceled_job_registry": State.CANCELLED,
}


# A worker of all queues serves these also while no task names them.
for _name in getattr(settings, "RQ_QUEUES", ()):
    declare_queue(default_backend(), _name)


class RqQueue:
    """A queue by its name, with RQ's methods. Jobs are enqueued in the current transaction.

    name: the queue's name. default_timeout: seconds, or a text such as "1h", for jobs that name
    none. is_async: False runs a job at once, in the process that enqueues it.
    """

    def __init__(
        self, name: str = "default", default_timeout: Any = None, is_async: bool = True, **_: Any
    ) -> None:
        self.name, self.is_async = name, is_async
        self.default_timeout = default_timeout
        self._commits_first = False

    def __repr__(self) -> str:
        return f"RqQueue({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RqQueue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        if name in _REGISTRIES:
            return RqRegistry(self.name, _REGISTRIES[name])
        raise AttributeError(
            f"A queue of django_bgtasks.contrib.rq has no {name!r}. See docs/moving.md."
        )

    def enqueue(self, f: Any, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a call of this function, or of that at this dotted path. Returns its RqJob.

        RQ's options may be among the keyword arguments: job_timeout, ttl, job_id, at_front, retry,
        on_success and others. Raises InvalidArguments for what has no equal.
        """
        args, kwargs, options = _split(args, kwargs)
        return self.enqueue_options(f, args, kwargs, options)

    def enqueue_call(
        self,
        func: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """enqueue(), with the arguments of the function apart from the options."""
        unknown = sorted(set(options) - {*CALL_OPTIONS, "timeout"})
        if unknown:
            raise TypeError(f"enqueue_call() got an unexpected keyword argument {unknown[0]!r}")
        return self.enqueue_options(func, args or (), dict(kwargs or {}), options)

    def enqueue_at(self, datetime: datetime, f: Any, *args: Any, **kwargs: Any) -> Any:
        """enqueue(), to run at a time; a naive one is of settings.TIME_ZONE."""
        args, kwargs, options = _split(args, kwargs)
        if settings.USE_TZ and timezone.is_naive(datetime):
            datetime = timezone.make_aware(datetime, timezone.get_default_timezone())
        return self.enqueue_options(f, args, kwargs, options, datetime)

    def enqueue_in(self, time_delta: timedelta, func: Any, *args: Any, **kwargs: Any) -> Any:
        """enqueue(), to run after this time."""
        args, kwargs, options = _split(args, kwargs)
        return self.enqueue_options(func, args, kwargs, options, clock.now() + time_delta)

    @staticmethod
    def prepare_data(
        func: Callable[..., Any] | str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> tuple[Any, ...]:
        """A call for enqueue_many()."""
        return func, args, kwargs, options

    def enqueue_many(self, job_datas: Iterable[tuple[Any, ...]], pipeline: Any = None) -> list[Any]:
        """Enqueue calls that prepare_data() made. Returns their RqJobs."""
        read_options({"pipeline": pipeline})
        return [
            self.enqueue_call(func, args, kwargs, **options)
            for func, args, kwargs, options in job_datas
        ]

    def enqueue_options(
        self,
        target: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: Mapping[str, Any],
        run_after: datetime | None = None,
    ) -> Any:
        """Enqueue a call with RQ's options; the form to which all others come."""
        task, args, kwargs = self.call_with(target, args, kwargs, options, run_after)
        try:
            with refusals_of_function(task, args):
                return self._insert(task, args, kwargs)
        except DuplicateJob as error:
            raise DuplicateJobError(str(error)) from error

    def call_with(
        self,
        target: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: Mapping[str, Any],
        run_after: datetime | None = None,
    ) -> tuple[Any, Sequence[Any], dict[str, Any]]:
        """The task that runs a call, with what its options change, and its arguments."""
        call = read_options(options)
        task, args, kwargs = _task_call(target, args, kwargs, call)
        changes = {"queue_name": self.name, **call.changes}
        if (
            "timeout" not in changes
            and self.default_timeout
            and not isinstance(target, DecoratedFunction)
        ):
            changes["timeout"] = timeout_seconds(self.default_timeout)
        if run_after is not None:
            changes["run_after"] = run_after
        return task.using(**changes), args, kwargs

    def _insert(self, task: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        # The models are not there yet where an app's modules are imported.
        from ...jobs.inline import enqueue_at_once
        from .handle import RqJob

        if self.is_async or task.run_after is not None or runs_inline(task):
            return RqJob(task.enqueue(*args, **kwargs).job)
        if self._commits_first and connections[database()].in_atomic_block:
            return RqJob(task.using(inline=True).enqueue(*args, **kwargs).job)
        return RqJob(enqueue_at_once(task, args, kwargs).job)

    def fetch_job(self, job_id: str) -> Any:
        """The job with this id, if it is one of this queue; else None."""
        from .handle import RqJob

        job = RqJob.find(job_id)
        return job if job is not None and job.origin == self.name else None

    @property
    def connection(self) -> NoConnection:
        """What code passes on; see get_connection()."""
        return get_connection()

    @property
    def count(self) -> int:
        """How many jobs are queued."""
        return len(RqRegistry(self.name, State.QUEUED))

    def is_empty(self) -> bool:
        """Whether no job is queued."""
        return self.count == 0

    def get_job_ids(self, offset: int = 0, length: int = -1) -> list[str]:
        """The ids of the queued jobs, those that run first in front."""
        return RqRegistry(self.name, State.QUEUED).get_job_ids(offset, length)

    @property
    def job_ids(self) -> list[str]:
        """See get_job_ids()."""
        return self.get_job_ids()

    def get_jobs(self, offset: int = 0, length: int = -1) -> list[Any]:
        """The queued jobs, those that run first in front."""
        return RqRegistry(self.name, State.QUEUED).get_jobs(offset, length)

    @property
    def jobs(self) -> list[Any]:
        """See get_jobs()."""
        return self.get_jobs()

    def empty(self) -> int:
        """Delete the queued jobs. Returns how many there were."""
        from ...jobs.actions import delete_jobs

        return len(delete_jobs({job.row.pk: job.row.state for job in self.jobs}))

    def remove(self, job_or_id: Any, pipeline: Any = None) -> None:
        """Cancel a queued job of this queue."""
        read_options({"pipeline": pipeline})
        job = self.fetch_job(getattr(job_or_id, "id", job_or_id))
        if job is not None and job.is_queued:
            job.cancel()


class RqRegistry:
    """The jobs of a queue that are in one state: what RQ keeps a registry of.

    name: of the queue. state: of the jobs.
    """

    def __init__(self, name: str, state: State) -> None:
        self.name, self._state = name, state

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True

    def __contains__(self, job: Any) -> bool:
        return str(getattr(job, "id", job)) in self.get_job_ids()

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._rows().count())

    def get_job_count(self, cleanup: bool = True) -> int:
        """How many there are."""
        return self.count

    def get_job_ids(self, start: int = 0, end: int = -1, **_: Any) -> list[str]:
        """Their ids."""
        return [job.id for job in self.get_jobs(start, end)]

    def get_jobs(self, offset: int = 0, length: int = -1) -> list[Any]:
        """The jobs themselves."""
        from .handle import RqJob

        rows = self._rows().order_by("-priority", "id")
        rows = rows[offset:] if length < 0 else rows[offset : offset + length]
        return [RqJob(row) for row in rows]

    def remove(self, job: Any, pipeline: Any = None, delete_job: bool = False) -> None:
        """Delete a job if delete_job says so; else nothing is left to be done."""
        from .handle import RqJob

        if delete_job and (found := RqJob.find(getattr(job, "id", job))) is not None:
            found.delete()

    def requeue(self, job_or_id: Any, at_front: bool = False) -> Any:
        """Queue a failed job again."""
        from .handle import requeue_rq_job

        return requeue_rq_job(getattr(job_or_id, "id", job_or_id))

    def _rows(self) -> Any:
        from ...models import Job

        backends = stored_backends(default_backend())
        rows = Job.objects.using(database()).filter(queue=self.name, state=self._state)
        return rows.filter(backend__in=backends)


def get_queue(
    name: str = "default",
    default_timeout: Any = None,
    is_async: bool | None = None,
    autocommit: bool | None = None,
    commit_mode: str | None = None,
    connection: Any = None,
    queue_class: Any = None,
    job_class: Any = None,
    serializer: Any = None,
    **options: Any,
) -> RqQueue:
    """The queue of this name.

    default_timeout, is_async: those of RqQueue; by default what settings.RQ_QUEUES says, if it is
    there. commit_mode: with is_async=False, "on_db_commit" runs a job after the commit. connection
    and serializer change nothing. Raises KeyError for a queue that RQ_QUEUES, if it is there, does
    not have, and InvalidArguments for classes of one's own.
    """
    configured = queue_settings(name)
    classes = (queue_class, job_class, configured.get("QUEUE_CLASS"), configured.get("JOB_CLASS"))
    of_all = getattr(settings, "RQ", {})
    if found := next(
        filter(None, (*classes, of_all.get("QUEUE_CLASS"), of_all.get("JOB_CLASS"))), 0
    ):
        raise InvalidArguments(
            f"A queue or job class of one's own, {found!r}, has no equal. What it adds to jobs is "
            f"a Middleware here. See docs/moving.md."
        )
    if is_async is None:
        is_async = options.get("async", configured.get("ASYNC", True))
    if default_timeout is None:
        default_timeout = configured.get("DEFAULT_TIMEOUT")
    mode = commit_mode or (None if autocommit else of_all.get("COMMIT_MODE"))
    if mode is not None and mode not in _COMMIT_MODES:
        raise ValueError(f"commit_mode must be one of {_COMMIT_MODES}.")
    queue = RqQueue(name, default_timeout, bool(is_async))
    queue._commits_first = mode == "on_db_commit"
    return queue


def get_queues(*names: str, **options: Any) -> list[RqQueue]:
    """The queues of these names; the default one if none is named."""
    return [get_queue(name, **options) for name in names or ("default",)]


def enqueue_default(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Enqueue a call in the default queue; see RqQueue.enqueue()."""
    return get_queue().enqueue(func, *args, **kwargs)


def enqueue_default_in(time_delta: timedelta, func: Any, *args: Any, **kwargs: Any) -> Any:
    """Enqueue a call in the default queue, to run after this time."""
    return get_queue().enqueue_in(time_delta, func, *args, **kwargs)


def enqueue_default_at(datetime: datetime, func: Any, *args: Any, **kwargs: Any) -> Any:
    """Enqueue a call in the default queue, to run at this time."""
    return get_queue().enqueue_at(datetime, func, *args, **kwargs)


def registry_of(state: State) -> Any:
    """What RQ's code calls for the registry of a queue, by its name or as `queue=`."""

    def registry(name: str = "default", connection: Any = None, queue: Any = None, **_: Any) -> Any:
        return RqRegistry(name if queue is None else queue.name, state)

    return registry


class RqTestWorker:
    """A worker for tests: work(burst=True) runs what is queued, in the test's own process.

    queues: names, or what get_queue() gives; one or several.
    """

    def __init__(self, queues: Any = ("default",), connection: Any = None, **_: Any) -> None:
        several = queues if isinstance(queues, list | tuple) else [queues]
        self.queues = [queue if isinstance(queue, RqQueue) else RqQueue(queue) for queue in several]

    def queue_names(self) -> list[str]:
        """The queues that it serves, in their order."""
        return [queue.name for queue in self.queues]

    def work(self, burst: bool = False, **_: Any) -> bool:
        """Run the queued jobs, until none is left. Returns whether there was any.

        Raises InvalidArguments outside of tests, and without burst.
        """
        if not burst or not is_test():
            raise InvalidArguments(
                "get_worker().work(burst=True) is for tests. Start `manage.py bgworker`, with "
                "--burst to end when nothing is left. See docs/moving.md."
            )
        from ...testing.running import run_jobs

        return bool(run_jobs(self.queue_names()))


def get_worker(*queue_names: str, **_: Any) -> RqTestWorker:
    """A worker of these queues, by default of the one called default, for tests."""
    return RqTestWorker(queue_names or ("default",))


def _split(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Take RQ's options out of the keyword arguments of a call."""
    options = {name: kwargs.pop(name) for name in CALL_OPTIONS if name in kwargs}
    if "args" in kwargs or "kwargs" in kwargs:
        if args:
            raise TypeError(
                "Extra positional arguments cannot be used when using explicit args and kwargs"
            )
        return (
            tuple(kwargs.pop("args", None) or ()),
            dict(kwargs.pop("kwargs", None) or {}),
            options,
        )
    return args, kwargs, options


def _task_call(
    target: Any, args: Sequence[Any], kwargs: dict[str, Any], call: CallOptions
) -> tuple[Any, Sequence[Any], dict[str, Any]]:
    """The task that runs a call, and its arguments: its own, or the one that calls functions."""
    own = target
    if hasattr(type(target), "background_task"):
        own = target.background_task
    if hasattr(own, "module_path") and not call.extras:
        return own, args, kwargs
    extras = call.extras
    if isinstance(target, DecoratedFunction):
        of_definition = read_options(target.options)
        extras = {**of_definition.extras, **extras}
        call.changes.update({**of_definition.changes, **call.changes})
    path = own.module_path if hasattr(own, "module_path") else function_path(target)
    if (instance := instance_of(target)) is not None:
        args = (instance, *args)
    return call_function, (path, sign(path, extras), list(args), kwargs, extras), {}


def database() -> str:
    """The database of the jobs."""
    from ...ledger.lifecycle import ledger_database

    return ledger_database()
