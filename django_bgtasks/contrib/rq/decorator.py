"""`@job`, as django-rq has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, overload

from ...core.errors import InvalidArguments
from ...jobs.task import task
from .calls import DecoratedFunction, queue_settings, read_options, timeout_seconds
from .functions import after_failure, with_callbacks
from .queue import RqQueue, get_queue

P = ParamSpec("P")
T = TypeVar("T")
# What a decorator of RQ's takes. The first two say where Redis is, which the settings do here.
_OPTIONS = (
    *("connection", "queue_class", "timeout", "result_ttl", "ttl", "depends_on", "at_front"),
    *("meta", "description", "failure_ttl", "retry", "on_failure", "on_success", "on_stopped"),
    "webhooks",
)
_OF_CALLS = ("depends_on", "job_id", "at_front")


class RqTask(DecoratedFunction, Generic[P, T]):
    """A decorated function: a call runs it here, `.delay()` and `.enqueue()` enqueue a job of it.

    background_task: the task that stands in its module by its path.
    """

    background_task: Any = None

    def __init__(self, function: Callable[P, T], queue: Any, options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.queue, self.options = queue, options
        read = read_options(options, as_path=False)
        self.extras = read.extras
        perform: Any = with_callbacks(function, read.extras)
        perform.rq_extras = read.extras
        changes = dict(read.changes)
        if "timeout" not in changes and (timeout := _settings_of(queue).get("DEFAULT_TIMEOUT")):
            changes["timeout"] = timeout_seconds(timeout)
        if "on_failure" in read.extras:
            changes["on_failure"] = after_failure
        decorate: Any = task(queue_name=_name_of(queue), types="django", **changes)
        self.background_task = decorate(perform)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<RqTask {self.background_task.module_path}>"

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a job in the current transaction. Returns its handle, an RqJob.

        depends_on, job_id and at_front among the keyword arguments are options, as RQ has them.
        """
        return self._enqueue(args, kwargs)

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        """See delay()."""
        return self._enqueue(args, kwargs)

    def _enqueue(self, args: Any, kwargs: dict[str, Any]) -> Any:
        queue = self.queue if isinstance(self.queue, RqQueue) else get_queue(self.queue)
        options = {name: kwargs.pop(name) for name in _OF_CALLS if name in kwargs}
        options = {**self.options, **{name: new for name, new in options.items() if new}}
        return queue.enqueue_options(self, args, kwargs, options)


@overload
def rq_job(func_or_queue: Callable[P, T], /) -> RqTask[P, T]: ...


@overload
def rq_job(
    func_or_queue: str | RqQueue = "default", connection: Any = None, *args: Any, **options: Any
) -> Callable[[Callable[P, T]], RqTask[P, T]]: ...


def rq_job(
    func_or_queue: Any = "default", connection: Any = None, *args: Any, **options: Any
) -> Any:
    """Make a function at a module's top level a task: `@job`, `@job("high", timeout=60)`.

    timeout: seconds, or a text such as "1h". retry: Retry(max, interval). ttl: seconds within which
    a job must have begun. on_success, on_failure: see RQ's docs; they run in the worker.
    connection, queue_class and result_ttl change nothing here. Raises InvalidArguments for the
    other options, which have no equal, and InvalidTask for what is no function of a module.
    """
    if args:
        options |= dict(zip(_OPTIONS[2:], args, strict=False))
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise TypeError(f"job() got an unexpected keyword argument {unknown[0]!r}")
    if callable(func_or_queue) and not hasattr(func_or_queue, "enqueue_call"):
        return RqTask(func_or_queue, "default", options)
    if not isinstance(func_or_queue, str) and not hasattr(func_or_queue, "enqueue_options"):
        raise InvalidArguments(
            f"@job() takes the name of a queue, or what get_queue() of this package gives, not "
            f"{func_or_queue!r}. See docs/moving.md."
        )
    return lambda function: RqTask(function, func_or_queue, options)


def _name_of(queue: Any) -> str:
    return queue if isinstance(queue, str) else str(queue.name)


def _settings_of(queue: Any) -> Any:
    return queue_settings(_name_of(queue))
