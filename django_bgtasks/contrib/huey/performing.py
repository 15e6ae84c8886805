"""How a job calls a function that was written for Huey: with Huey's hooks, signals and retries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import update_wrapper
from inspect import Signature, iscoroutinefunction, signature
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.utils import timezone

from ...core import clock
from ...core.errors import BgTasksError, InvalidArguments, JobCancelled, JobTimeout, RetryLater
from ...core.payload import json_value
from ...core.retry import Retry
from ...core.values import typed_copy
from ...jobs.task import find_task, task
from . import signals
from .exceptions import CancelExecution, RetryTask, TaskLockedException

logger = logging.getLogger("django_bgtasks")
# A backoff of more retries than these goes on with the last delay.
MOST_DELAYS = 100
LOWEST, HIGHEST = -100, 100


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What a decorator of Huey's says of a task; delays in seconds."""

    retries: int = 0
    retry_delay: float = 0
    retry_backoff: float = 0
    priority: int | None = None
    expires: Any = None
    timeout: float | None = None
    context: bool = False

    def changes(self) -> dict[str, Any]:
        """The options of a BackgroundTask."""
        changes: dict[str, Any] = {}
        if self.retries:
            changes["retry"] = Retry(
                max_attempts=self.retries + 1, delays=self._delays(), jitter=0, on=(Exception,)
            )
        if self.priority is not None:
            changes["priority"] = priority_of(self.priority)
        if self.expires is not None:
            changes["expires"] = expiry_of(self.expires)
        if self.timeout is not None:
            changes["timeout"] = self.timeout
        return changes

    def _delays(self) -> list[float]:
        count = min(self.retries, MOST_DELAYS)
        return [self.retry_delay * (self.retry_backoff or 1) ** number for number in range(count)]


@dataclass
class HueyContext:
    """What a task with context=True gets as `task`: the job that runs.

    retries: how many are left.
    """

    id: str
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: TaskOptions = field(repr=False)
    retries: int = 0
    eta: datetime | None = None

    @property
    def data(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments."""
        return self.args, self.kwargs

    @property
    def retry_delay(self) -> float:
        """Seconds before the next attempt."""
        return self.options.retry_delay

    @property
    def priority(self) -> int | None:
        """As the decorator has it."""
        return self.options.priority

    @property
    def expires(self) -> Any:
        """As the decorator has it."""
        return self.options.expires

    @property
    def timeout(self) -> float | None:
        """As the decorator has it, in seconds."""
        return self.options.timeout

    def check_timeout(self) -> None:
        """Nothing: at its timeout a task gets JobTimeout wherever it is."""


def with_hooks(
    function: Callable[..., Any], options: TaskOptions, names: Any
) -> Callable[..., Any]:
    """The function of a task, with the signature of this one, but for `task`.

    names: what has its name, module and the like.
    """

    def perform(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _passed_call(args, kwargs)
        return _perform(function, options, args, kwargs, names.__name__)

    update_wrapper(perform, names, updated=())
    vars(perform)["__wrapped__"] = function
    if options.context:
        vars(perform)["__signature__"] = _without_task(function)
    vars(perform)["huey_options"] = options
    return perform


def _passed_call(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments, or in immediate mode the very objects that were passed."""
    from ...jobs.context import current_job
    from ...jobs.inline import passed_calls

    current = current_job()
    return (args, kwargs) if current is None else passed_calls.get(current.job_id, (args, kwargs))


def _without_task(function: Callable[..., Any]) -> Signature:
    whole = signature(function)
    rest = [parameter for name, parameter in whole.parameters.items() if name != "task"]
    return whole.replace(parameters=rest)


def _perform(
    function: Callable[..., Any],
    options: TaskOptions,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    name: str,
) -> Any:
    context = _context(name, options, args, kwargs)
    names = {**kwargs, "task": context} if options.context else kwargs
    act = async_to_sync(function) if iscoroutinefunction(function) else function
    try:
        signals.run_before(context)
        signals.send(signals.SIGNAL_EXECUTING, context)
        value = act(*args, **names)
    except JobTimeout as error:
        signals.send(signals.SIGNAL_TIMEOUT, context)
        signals.run_after(context, None, error)
        raise
    except BgTasksError:
        raise
    except TaskLockedException as error:
        signals.run_after(context, None, error)
        raise
    except RetryTask as error:
        signals.run_after(context, None, error)
        signals.send(signals.SIGNAL_RETRYING, context)
        raise RetryLater(_delay_of(error, options), str(error)) from error
    except CancelExecution as error:
        signals.send(signals.SIGNAL_CANCELED, context)
        signals.run_after(context, None, error)
        raise _cancelled(error, context) from error
    except Exception as error:
        signals.send(signals.SIGNAL_ERROR, context, error)
        signals.run_after(context, None, error)
        if context.retries:
            signals.send(signals.SIGNAL_RETRYING, context)
        raise
    signals.run_after(context, value, None)
    signals.send(signals.SIGNAL_COMPLETE, context)
    return value


def _cancelled(error: CancelExecution, context: HueyContext) -> BgTasksError:
    if error.retry or (error.retry is None and context.retries):
        return RetryLater(context.retry_delay, str(error), counted=context.retries > 0)
    # By the code of a cancellation, which makes the job one that was cancelled.
    return JobCancelled.of("cancelled")


def _delay_of(error: RetryTask, options: TaskOptions) -> float:
    if error.eta is not None:
        return max((time_of(error.eta) - clock.now()).total_seconds(), 0.0)
    return options.retry_delay if error.delay is None else error.delay


def _context(
    name: str,
    options: TaskOptions,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> HueyContext:
    from ...jobs.context import current_job

    current = current_job()
    if current is None:
        return HueyContext("", name, args, kwargs, options, options.retries)
    left = max(current.job.max_attempts - current.attempt, 0) if options.retries else 0
    eta = current.job.run_after
    return HueyContext(str(current.job_id), name, args, kwargs, options, left, eta)


def priority_of(priority: int) -> int:
    """The priority of a task; beyond -100 and 100 it is these, and the log says so."""
    nearest = max(LOWEST, min(priority, HIGHEST))
    if nearest != priority:
        text = "priority=%s counts as %s: beyond it, jobs run in the order of their calls."
        logger.warning(text, priority, nearest)
    return nearest


def changes_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """What eta, delay, expires and priority of a call change of its task, as using() takes it."""
    changes: dict[str, Any] = {}
    if (eta := options.get("eta")) is not None:
        changes["run_after"] = time_of(eta)
    elif (delay := options.get("delay")) is not None:
        seconds = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        changes["run_after"] = clock.now() + seconds
    if "expires" in options:
        changes["expires"] = expiry_of(options["expires"])
    if "priority" in options:
        changes["priority"] = priority_of(options["priority"])
    return changes


def time_of(moment: datetime) -> datetime:
    """An aware time; a naive one is of settings.TIME_ZONE, which Django makes the process's."""
    if settings.USE_TZ and timezone.is_naive(moment):
        return timezone.make_aware(moment, timezone.get_default_timezone())
    return moment


def expiry_of(expires: Any) -> Any:
    """An expiry: seconds, a length of time, or a time."""
    if isinstance(expires, datetime):
        return time_of(expires)
    return expires if isinstance(expires, timedelta) else timedelta(seconds=expires)


def extended(
    args: Sequence[Any], kwargs: Mapping[str, Any], value: Any
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a step of a pipeline, with what the step before it has returned."""
    if value is None or value == ():
        return [*args], {**kwargs}
    if isinstance(value, tuple):
        return [*args, *value], {**kwargs}
    if isinstance(value, dict):
        return [*args], {**value, **kwargs}
    return [*args, value], {**kwargs}


def _label(path: str, *_rest: Any, **_names: Any) -> str:
    return path


@task(types="django", label=_label)
def call_step(path: str, args: Sequence[Any], kwargs: dict[str, Any], value: Any) -> Any:
    """Call a task of this room as the step of a pipeline: `value` is added to its arguments."""
    found = find_task(path)
    if not hasattr(found.func, "huey_options"):
        raise InvalidArguments(f"{path} is no task of django_bgtasks.contrib.huey.")
    args, kwargs = extended(args, kwargs, value)
    return found.func(*args, **kwargs)


def later_step(
    path: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    value: Any,
    changes: Mapping[str, Any],
) -> Any:
    """The step that calls the task at this path; see call_step(). changes: for using().

    Raises InvalidArguments, in the task's name, for an argument that cannot be stored.
    """
    for what, own in (("args", list(args)), ("kwargs", kwargs)):
        json_value(own, what, path, copied_by=typed_copy)
    return call_step.using(**changes).step(path, list(args), kwargs, value)
