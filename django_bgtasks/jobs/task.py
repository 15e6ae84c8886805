"""Step 1, the call: `@task` makes a BackgroundTask, and its `enqueue` starts the line.

Next: jobs/enqueue.py (2 the row).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

from django.utils.module_loading import import_string

from ..core.aliases import CURRENT, register_aliases
from ..core.backport import ForBoth, loaded_backport, task_classes
from ..core.compat import (
    DEFAULT_TASK_QUEUE_NAME,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    for_both,
    handlers,
    task_backends,
)
from ..core.current import is_worker
from ..core.dedup import DedupKey
from ..core.errors import TaskNotFound
from ..core.flows import Step
from ..core.labels import Label
from ..core.limits import Limit, LimitKey, OnFailed, Rate
from ..core.options import (
    IMPLICIT,
    IMPLICIT_BACKEND,
    INLINE,
    backend_settings,
    default_backend,
)
from ..core.outcomes import Outcome, message_of
from ..core.payload import plain
from ..core.retry import DEFAULT_RETRY, Retry, stored_retry
from .discovery import try_to_discover

if TYPE_CHECKING:
    from ..core.timing import Timing
    from .context import JobContext
    from .results import JobResult

P = ParamSpec("P")
T = TypeVar("T")
Scope = Literal["live", "queued"] | timedelta
OnDuplicate = Literal["return", "replace", "raise"]
OnCrash = Literal["retry", "fail"]
OnFailure = Callable[["JobContext", Outcome], Any] | str | None
Types = Literal["json", "django"]
Missing = Literal["fail", "skip"]
OF_THE_DEFINITION = {
    "func",
    "takes_context",
    "atomic",
    "sensitive",
    "aliases",
    "expected",
    "types",
    "missing",
    "log",
    "on_failure",
    "schedule",
}
TEXTS = (
    *("queue_name", "backend", "label"),
    *("dedup_key", "dedup_scope", "on_duplicate", "on_crash", "on_failed"),
)
CAN_BE_NONE = {
    *("dedup_key", "timeout", "owner", "about", "expires", "label"),
    *("limit", "sequence", "rate", "batch"),
}
Call = tuple[Any, ...] | Mapping[str, Any]
# By the path of each task, the policy of its definition.
RETRIES: dict[str, Retry] = {}
# By their paths, the tasks that say when jobs of them are enqueued by themselves.
SCHEDULED: dict[str, BackgroundTask[Any, Any]] = {}
# Of each backend, the queues that tasks name.
_declared: defaultdict[str, set[str]] = defaultdict(lambda: {DEFAULT_TASK_QUEUE_NAME})


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTask(Task, Generic[P, T], metaclass=ForBoth):  # type: ignore[type-arg]
    """The definition of a task: a function with the defaults of its jobs.

    retry: a Retry; without one an exception fails the job, while a crash is retried.
    timeout: seconds for one attempt; None takes the backend's.
    dedup_key: a format string over the call's arguments, or a callable of them; None for no dedup.
    dedup_scope: how long a job holds its key: "live" until it is final, "queued" until it starts,
        a timedelta for that long at least.
    on_duplicate: "return" the job that holds the key, "replace" its arguments and time while it has
        not started, or "raise" DuplicateJob.
    atomic: run inside the transaction that settles the job.
    on_crash: "retry", or "fail" for effects that must not be repeated.
    owner, about: the user whose job it is and the model instance it concerns.
    inline: run the job in the process that enqueues it, after its commit, and not by a worker.
    types: "json" for arguments and results as JSON has them, "django" for dates, decimals, model
        instances and more, which arrive as they left; None takes the backend's.
    missing: what a job does if the row of a model instance is gone when it begins: "fail", or
        "skip", and it is cancelled.
    log: whether the lines that it logs are kept for the job's page; None takes the backend's.
    expires: until when a job must have begun, in seconds from its enqueue or as a timedelta; with
        using() also a datetime. What has not begun by then is cancelled.
    label: what people read of a job in the admin: a format string over the call's arguments, or a
        callable of them. Sensitive arguments are masked in it.
    aliases: former paths of the task: jobs that were enqueued under them run with it.
    expected: classes of exceptions that are no reason for alarm: no error in the log or in Sentry.
    sensitive: the names of parameters whose values are masked in the admin, in logs and in repr().
    on_failure: a function, or the dotted path of one, that is called with (context, outcome) when a
        job has failed for good, its process's death included.
    limit: a Limit, so many jobs of one key at once across all workers; None for no limit.
    sequence: jobs of one key one after another, in the order in which they were enqueued: a format
        string over the call's arguments, or a callable of them.
    rate: a Rate, so many starts of one key in any period across all workers; None for no rate.
    on_failed: what a job of a sequence does when it has failed for good: it "hold"s the sequence
        until a person decides, or the others "skip" it.
    batch: the batch whose job it is, that of a `with batch()` or of the context; None for none.
    schedule: a Cron or an Every, or a list of them: when a job of the task is enqueued by itself.
        None for no such time.
    """

    retry: Retry = DEFAULT_RETRY
    timeout: float | None = None
    dedup_key: DedupKey = None
    dedup_scope: Scope = "live"
    on_duplicate: OnDuplicate = "return"
    atomic: bool = False
    on_crash: OnCrash = "retry"
    owner: Any = None
    about: Any = None
    inline: bool = False
    expires: timedelta | float | datetime | None = None
    label: Label = None
    sensitive: Sequence[str] = ()
    aliases: Sequence[str] = ()
    expected: type[BaseException] | Sequence[type[BaseException]] = ()
    on_failure: OnFailure = None
    types: Types | None = "json"
    missing: Missing = "fail"
    log: bool | None = None
    limit: Limit | None = None
    sequence: LimitKey | None = None
    rate: Rate | None = None
    on_failed: OnFailed = "hold"
    batch: Any = None
    schedule: Timing | Sequence[Timing] | None = None

    def __post_init__(self) -> None:
        for name in TEXTS:
            # A member of an enumeration is the text that it stands for.
            object.__setattr__(self, name, plain(getattr(self, name)))
        if not isinstance(self.backend, str):
            raise InvalidTask(
                f"{self.module_path}: backend is an alias in TASKS, such as 'default', not "
                f"{self.backend!r}."
            )
        # Not by super(): this is a method of the backport's twin too, which has another base.
        self.get_backend().validate_task(self)
        try:
            self._register()
        except InvalidTask as error:
            raise for_both(error) from None

    def _register(self) -> None:
        path = self.module_path
        register_aliases(path, self.aliases)
        for alias in self.aliases:
            module, _dot, name = alias.rpartition(".")
            there: Any = getattr(sys.modules.get(module), name, None)
            if isinstance(there, task_classes()) and there.module_path != path:
                raise InvalidTask(
                    f"{path}: the alias {alias!r} is a task itself, so its jobs run there. Remove "
                    f"one of the two, or the alias."
                )

    def __reduce__(self) -> tuple[Any, ...]:
        """By the path of its function and what differs there: a pickled key need not be code."""
        original = find_task(self.module_path)
        options = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "func"
        }
        changes = {name: new for name, new in options.items() if new != getattr(original, name)}
        return _unpickled, (self.module_path, changes)

    def get_backend(self) -> Any:
        """The RQBackend of this task, the implicit one included."""
        own: Any = self
        if isinstance(own, Task):
            return ensure_backend(self.backend)
        backport = loaded_backport()
        try:
            return ensure_backend(self.backend, backport.task_backends)
        except backport.InvalidTaskBackendError as error:
            raise for_both(InvalidTaskBackend(*error.args)) from error

    def using(self, **changes: Any) -> BackgroundTask[P, T]:
        """A copy with other defaults for its jobs, and with `run_after`, `owner`, `about`.

        None takes away a dedup_key, a timeout, an owner, an about, an expiry, a label, a limit, a
        sequence, a rate or a batch; elsewhere it changes nothing.
        `atomic`, `takes_context`, `sensitive`, `aliases`, `expected`, `types`, `missing`, `log`,
        `on_failure` and `schedule` are the definition's, and read there.
        """
        _refuse(self.module_path, set(changes) - set(self.__dataclass_fields__), "has no option")
        _refuse(self.module_path, set(changes) & OF_THE_DEFINITION, "cannot change")
        if isinstance(retry := changes.get("retry"), Retry):
            _check_storable(self.module_path, retry)
        values = {
            name: new for name, new in changes.items() if new is not None or name in CAN_BE_NONE
        }
        return replace(self, **values)

    def step(self, /, *args: Any, **kwargs: Any) -> Step:
        """A call as a part of a workflow: see chain(), group() and batch().

        RESULT and RESULTS among the arguments stand for what the step before it returns.
        """
        return Step(self, args, kwargs)

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobResult[T]:
        """Insert a job in the current transaction and dispatch it with the commit.

        Returns the TaskResult; its `.deduplicated` says whether an earlier job stands for it.
        Raises InvalidArguments, DuplicateJob or QueueFull, and then nothing was enqueued.
        """
        result: JobResult[T] = self.get_backend().enqueue(self, args, kwargs)
        return result

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobResult[T]:
        """See enqueue()."""
        result: JobResult[T] = await self.get_backend().aenqueue(self, args, kwargs)
        return result

    def enqueue_many(self, calls: Iterable[Call]) -> Sequence[JobResult[T]]:
        """Enqueue many calls at once: one INSERT and one pipeline for each 1,000 of them.

        calls: for each job a tuple of arguments or a dict of keyword arguments.
        Returns the results in order. Either all calls are enqueued or none is.
        """
        results: Sequence[JobResult[T]] = self.get_backend().enqueue_many(self, calls)
        return results


# What inline_jobs() of the test kit says for all tasks of this process; the last one counts.
forced_inline: list[bool] = []


def runs_inline(task: Any) -> bool:
    """Whether a job of this task is run by the process that enqueues it.

    The mode of a backend is not for its workers: what their tasks enqueue they run themselves.
    """
    if task.inline or forced_inline:
        return True
    # Not by is_inline: this is asked for each job.
    return backend_settings(task.backend).options.mode == INLINE and not is_worker()


def _unpickled(path: str, changes: dict[str, Any]) -> BackgroundTask[Any, Any]:
    loaded: BackgroundTask[Any, Any] = replace(find_task(path), **changes)
    return loaded


@overload
def task(function: Callable[P, T], /) -> BackgroundTask[P, T]: ...


@overload
def task(
    *,
    takes_context: Literal[True],
    priority: int = 0,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str | None = None,
    **options: Any,
) -> Callable[[Callable[Concatenate[JobContext, P], T]], BackgroundTask[P, T]]: ...


@overload
def task(
    *,
    takes_context: Literal[False] = False,
    priority: int = 0,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str | None = None,
    **options: Any,
) -> Callable[[Callable[P, T]], BackgroundTask[P, T]]: ...


def task(
    function: Callable[..., Any] | None = None,
    *,
    priority: int = 0,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str | None = None,
    takes_context: bool = False,
    **options: Any,
) -> Any:
    """Make a function at a module's top level a task. See BackgroundTask for the options."""
    if "run_after" in options:
        raise TypeError(
            "run_after cannot be defined statically with the @task decorator. "
            "Use .using(run_after=...) to set it dynamically."
        )
    if isinstance(options.get("expires"), datetime):
        raise TypeError(
            "@task(expires=...) takes a timedelta or seconds, for each job anew. "
            "Use .using(expires=...) for a time."
        )

    # Django's own decorator, which does not say it, keeps Django's rule.
    options.setdefault("types", None)

    def wrapper(func: Callable[..., Any]) -> BackgroundTask[Any, Any]:
        name = backend or default_backend()
        background_task: BackgroundTask[Any, Any] = ensure_backend(name).task_class(
            func=func,
            priority=priority,
            queue_name=queue_name,
            backend=name,
            takes_context=takes_context,
            run_after=None,
            **options,
        )
        # Not of one that was refused.
        _declared[name].add(background_task.queue_name)
        path = background_task.module_path
        RETRIES[path] = background_task.retry
        SCHEDULED.pop(path, None)
        if background_task.schedule:
            SCHEDULED[path] = background_task
        return background_task

    return wrapper(function) if function else wrapper


def declare_queue(backend: str, name: str) -> None:
    """Let workers serve this queue where QUEUES of the backend names none."""
    _declared[backend].add(name)


def queues_of(backend: str) -> frozenset[str]:
    """The queues of a backend: its QUEUES, or those that tasks declare when it names none."""
    return backend_settings(backend).queues or frozenset(_declared[backend])


def ensure_backend(name: str, found_by: Any = task_backends) -> Any:
    """The backend of this name; makes the implicit one known where TASKS does not name it.

    Each handler gets a copy of its settings, so that the site's TASKS stays as it is.
    found_by: the handler of the tasks API that asks.
    """
    if name == IMPLICIT_BACKEND:
        for handler in handlers():
            if name not in handler.settings:
                handler.settings = {**handler.settings, name: IMPLICIT}
    return found_by[name]


def find_task(path: str) -> Any:
    """The task at this dotted path, or that has it as an alias; TaskNotFound when there is none on
    this host.
    """
    path = CURRENT.get(path, path)
    try:
        found = import_string(path)
    except (Exception, SystemExit) as error:
        if try_to_discover() and path in CURRENT:
            return find_task(path)
        why = message_of(error)
        raise TaskNotFound.of("task_not_imported", task=path, why=why) from error
    if isinstance(found, Task):
        return found
    if hasattr(type(found), "background_task"):
        # Asked of the type: a lazy object would look at what it stands for.
        found = found.background_task
        if found is not None:
            return found
    # A task that is made by hand may have another name in its module than its function has there.
    tasks = [found] if isinstance(found, task_classes()) else _tasks_around(found, path)
    # With different options nobody could say which of them is meant.
    if not tasks or any(_definition(task) != _definition(tasks[0]) for task in tasks):
        raise TaskNotFound.of("not_a_task", task=path)
    return tasks[0]


def _tasks_around(function: Any, path: str) -> list[Any]:
    """The tasks of its module that call this function."""
    kinds, module = task_classes(), sys.modules[path.rpartition(".")[0]]
    values = list(vars(module).values())
    # By type(): isinstance() would ask a lazy object what it is, which may ask the database.
    tasks = [value for value in values if issubclass(type(value), kinds)]
    stand_ins = [value for value in values if hasattr(type(value), "background_task")]
    tasks += filter(None, (value.background_task for value in stand_ins))
    return [task for task in tasks if function in (task.func, vars(task.func).get("__wrapped__"))]


def _definition(task: Any) -> list[Any]:
    """What a worker reads of a task, and not of its job."""
    return [getattr(task, name, None) for name in (*sorted(OF_THE_DEFINITION), "retry")]


def own_retry(task: BackgroundTask[Any, Any]) -> dict[str, Any] | None:
    """The policy of the task's jobs as their rows keep it; None if it is that of the definition."""
    path, retry = task.module_path, task.retry
    definition = RETRIES.get(path)
    if definition is None:
        definition = RETRIES[path] = getattr(known_task(path), "retry", DEFAULT_RETRY)
    return None if retry is definition or retry == definition else stored_retry(retry)


def known_task(path: str) -> Any:
    """The task at this dotted path; None when there is none on this host."""
    try:
        return find_task(path)
    except TaskNotFound:
        return None


def as_background_task(task: Any, backend: str) -> BackgroundTask[Any, Any]:
    """The task as one of this backend: a plain one of the tasks API gets our defaults.

    Raises InvalidTask for what no worker could find by its path, or would call in another way.
    """
    if isinstance(task, BackgroundTask):
        return task if task.backend == backend else replace(task, backend=backend)
    options = ("func", "priority", "queue_name", "run_after", "takes_context")
    background_task: BackgroundTask[Any, Any] = BackgroundTask(
        backend=backend, **{name: getattr(task, name) for name in options}
    )
    path = background_task.module_path
    try:
        found = find_task(path)
    except TaskNotFound as error:
        text = f"{path}: no worker could find this task by its path. {error}"
        raise InvalidTask(f"{text} Or keep the Task itself in that module.") from None
    if found.takes_context != background_task.takes_context:
        text = f"{path}: takes_context is {found.takes_context} there, where workers read it"
        raise InvalidTask(f"{text}, and {background_task.takes_context} here.")
    return background_task


def _check_storable(name: str, retry: Retry) -> None:
    try:
        stored_retry(retry)
    except ValueError as error:
        raise for_both(InvalidTask(f"{name}: {error}")) from None


def _refuse(name: str, options: set[str], why: str) -> None:
    if options:
        raise TypeError(f"{name}.using() {why} {', '.join(sorted(options))}.")
