"""Retries by Celery's rules: what self.retry() does, and autoretry_for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from ...core import clock
from ...core.payload import json_value
from ...core.values import COPIED_BY
from .errors import CeleryRetry
from .mixed import retry_class
from .request import EXTRAS, TaskRequest
from .shapes import as_sent_by
from .utils.time import get_exponential_backoff_interval

# In the place of "without end": more attempts than any job comes to.
ENDLESS = 10_000


def autoretry(task: Any, request: TaskRequest, error: Exception) -> None:
    """Raise Retry if autoretry_for says so, or the error when there were enough."""
    classes, exceptions = tuple(task.autoretry_for), tuple(task.dont_autoretry_for)
    if not isinstance(error, classes) or isinstance(error, exceptions):
        return
    options = dict(task.retry_kwargs or {})
    if task.retry_backoff:
        options["countdown"] = backoff_of(task, request.retries)
    if request.most_retries is not None:
        # The task has asked for a retry itself, with a limit of its own.
        options["max_retries"] = request.most_retries
    raise task.retry(exc=error, **options)


def backoff_of(task: Any, retries: int) -> int:
    """Seconds until the retry that follows so many of them."""
    factor = int(max(1.0, float(task.retry_backoff)))
    most = int(task.retry_backoff_max)
    return get_exponential_backoff_interval(factor, retries, most, bool(task.retry_jitter))


def most_attempts(task: Any) -> int:
    """The attempts of a job of this task, as far as its definition says it."""
    limits = [task.max_retries]
    if task.autoretry_for and "max_retries" in (task.retry_kwargs or {}):
        limits.append(task.retry_kwargs["max_retries"])
    if None in limits:
        return ENDLESS
    return min(ENDLESS, max(int(limit) for limit in limits) + 1)


def prepare_retry(task: Any, request: TaskRequest) -> None:
    """Let the job of this attempt have one more, whatever its row says."""
    context = request.context
    if context is not None and context.job.attempt >= context.job.max_attempts:
        from ...ledger.attempts import amend

        context.job.max_attempts = context.job.attempt + 1
        amend(context.job, context.using, max_attempts=context.job.max_attempts)


def raise_again(error: BaseException) -> NoReturn:
    """Raise this exception, or the one that is being handled if it is the same."""
    current = sys.exception()
    if current is error or current is None:
        raise error
    raise error from current


def change_call(
    task: Any,
    request: TaskRequest,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> None:
    """Let the attempts that follow have other arguments, another queue or another priority."""
    args = request.args if args is None else as_sent_by(task, list(args))
    kwargs = request.kwargs if kwargs is None else as_sent_by(task, dict(kwargs))
    context = request.context
    if context is None:
        request.args, request.kwargs = args, kwargs
        return
    job, values = context.job, {}
    copied_by = COPIED_BY.get(job.types)
    if args != request.args or kwargs != request.kwargs:
        extras = {EXTRAS: job.kwargs[EXTRAS]} if EXTRAS in job.kwargs else {}
        stored = json_value(kwargs, "kwargs", task.name, copied_by=copied_by)
        values["kwargs"] = {**stored, **extras}
        values["args"] = json_value(list(args), "args", task.name, copied_by=copied_by)
    values |= {name: value for name, value in options.items() if value is not None}
    if values:
        from ...ledger.attempts import amend

        amend(job, context.using, **values)


def when_of(countdown: float | None, eta: datetime | None) -> float | datetime:
    """When the next attempt begins."""
    if eta is not None:
        return clock.in_utc(eta) if eta.tzinfo else eta.replace(tzinfo=clock.now().tzinfo)
    return countdown or 0.0


def retry_task(task: Any, call: Mapping[str, Any], exc: BaseException | None) -> CeleryRetry:
    """Celery's Task.retry(). Returns the Retry to be raised; see there for what it raises."""
    request = task.request
    options = dict(call)
    if request.called_directly:
        raise_again(exc or CeleryRetry("Task can be retried", None))
    throw = options.pop("throw", True)
    request.most_retries = most = options.pop("max_retries", None)
    most = task.max_retries if most is None else most
    args, kwargs = options.pop("args", None), options.pop("kwargs", None)
    countdown, eta = options.pop("countdown", None), options.pop("eta", None)
    if eta is None and countdown is None:
        countdown = task.default_retry_delay
    if isinstance(countdown, timedelta):
        countdown = countdown.total_seconds()
    if most is not None and request.retries + 1 > most:
        if exc is not None:
            raise_again(exc)
        text = f"Can't retry {task.name}[{request.id}] args:{request.args} kwargs:{request.kwargs}"
        error = task.MaxRetriesExceededError
        raise error(text, task_args=request.args, task_kwargs=request.kwargs)
    retry = retry_class()(exc=exc, when=when_of(countdown, eta), is_eager=request.is_eager)
    if throw:
        change_call(task, request, args, kwargs, task.columns_of(options))
    elif request.context is not None:
        # The task goes on: the retry is a job beside it.
        task.apply_async(
            request.args if args is None else args,
            request.kwargs if kwargs is None else kwargs,
            countdown=None if eta else countdown,
            eta=eta,
            retries=request.retries + 1,
            **options,
        )
    return retry
