"""One attempt of a task, with what Celery calls around it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ...core.outcomes import Outcome
from ...core.payload import json_value
from ...core.values import TYPED, typed_copy
from ...jobs.context import JobContext, current_job
from ...jobs.typed import value_of
from ...ledger.attempts import amend
from . import signals, states
from .errors import CeleryRetry, Ignore, Reject, StateFailure
from .failures import ExceptionInfo, exception_of_job
from .mixed import translated
from .request import EXTRAS, TaskRequest, pushed, request_of_job
from .retries import autoretry, prepare_retry
from .shapes import as_sent_by, result_of_task
from .time_limits import soft_limit

PREDICATES = (Ignore, Reject, CeleryRetry)


def run_in_worker(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run the attempt that a worker has begun."""
    context = current_job()
    if context is None:
        raise RuntimeError(f"{task.name} runs in no job here.")
    named = dict(kwargs)
    extras = named.pop(EXTRAS, None) or {}
    if extras.get("countdown"):
        wait_first(context, extras)
    request = request_of_job(context, task, args, named, extras)
    with pushed(task, request):
        act = partial(run_attempt, task, request)
        seconds = request.soft_time_limit
        value = soft_limit(seconds).run(act) if seconds else act()
    job = context.job
    return result_of_task(task, value, is_awaited=job.has_followers or job.batch is not None)


def wait_first(context: JobContext, extras: Mapping[str, Any]) -> None:
    """Let a step of a workflow begin some seconds after the one before it, as it was told to."""
    rest = {name: value for name, value in extras.items() if name != "countdown"}
    kwargs = {**context.job.kwargs, EXTRAS: rest}
    amend(context.job, context.using, kwargs=kwargs)
    raise Reject("It begins later.", requeue=True).after(extras["countdown"])


def run_attempt(task: Any, request: TaskRequest) -> Any:
    """Call the task's function between the hooks and signals that go with it.

    Raises what the function raises. What follows a failure for good is told by tell_failure().
    """
    call = {"task_id": request.id, "task": task, "args": request.args, "kwargs": request.kwargs}
    signals.task_prerun.tell(task, **call)
    state, value = states.FAILURE, None
    try:
        value = _call(task, request)
        state = states.SUCCESS
        task.on_success(value, request.id, request.args, request.kwargs)
        signals.task_success.tell(task, result=value)
        task.after_return(state, value, request.id, request.args, request.kwargs, None)
        return value
    except CeleryRetry as retry:
        state, value = states.RETRY, retry
        _tell_retry(task, request, retry)
        prepare_retry(task, request)
        raise
    except Ignore:
        state = states.IGNORED
        if request.custom is None:
            raise
        return _result_of_state(*request.custom)
    except Reject as error:
        state = states.REJECTED
        if error.requeue:
            raise
        raise Ignore(str(error)) from error
    except Exception as error:
        value = error
        raise
    finally:
        signals.task_postrun.tell(task, **call, retval=value, state=state)
        # Its traceback refers to this frame.
        value = None


def _call(task: Any, request: TaskRequest) -> Any:
    task.before_start(request.id, request.args, request.kwargs)
    try:
        # By its own __call__(), which may be overridden.
        return task(*request.args, **request.kwargs)
    except PREDICATES:
        raise
    except Exception as error:
        if (known := translated(error)) is not error:
            raise known from error
        autoretry(task, request, error)
        raise


def _tell_retry(task: Any, request: TaskRequest, retry: Any) -> None:
    info = ExceptionInfo(retry)
    task.on_retry(retry.exc, request.id, request.args, request.kwargs, info)
    signals.task_retry.tell(task, request=request, reason=retry, einfo=info)


def _result_of_state(state: str, meta: Any) -> Any:
    """What the job ends with whose task has set a state and raised Ignore."""
    if state in states.EXCEPTION_STATES:
        raise StateFailure(state, meta)
    return meta


def tell_failure(context: JobContext, outcome: Outcome) -> None:
    """What follows when a job has failed for good, in whatever process that is settled."""
    job, task = context.job, context.task.func.task
    args, kwargs = value_of([job.args, job.kwargs]) if job.types else (job.args, job.kwargs)
    extras = kwargs.pop(EXTRAS, None) or {}
    error = context.exception or exception_of_job(job)
    with pushed(task, request_of_job(context, task, args, kwargs, extras)) as request:
        tell_failure_of(task, request, error)


def tell_failure_of(task: Any, request: TaskRequest, error: BaseException) -> Any:
    """Call the hooks and receivers of a failure. Returns Celery's description of it."""
    info = ExceptionInfo(error)
    task.on_failure(error, request.id, request.args, request.kwargs, info)
    signals.task_failure.tell(
        task,
        task_id=request.id,
        exception=error,
        args=request.args,
        kwargs=request.kwargs,
        traceback=error.__traceback__,
        einfo=info,
    )
    task.after_return(states.FAILURE, error, request.id, request.args, request.kwargs, info)
    return info


def set_state(task: Any, request: TaskRequest, state: str | None, meta: Any) -> None:
    """Show a state of the task's own, with what belongs to it, while it runs."""
    request.custom = (state or states.STARTED, meta)
    context = request.context
    if context is None:
        return
    stored = {"state": state, "meta": as_sent_by(task, meta, "result_serializer")}
    value = json_value(stored, "the result", task.name, copied_by=typed_copy)
    if context.job.types != TYPED:
        value = json_value(stored, "the result", task.name)
    amend(context.job, context.using, result=value)
    done, total = _figures(meta)
    if done is not None:
        context.progress(done, total, str(meta.get("message") or meta.get("status") or ""))


def _figures(meta: Any) -> tuple[float | None, float | None]:
    """What of it is a progress, by the names that are in use."""
    if not isinstance(meta, Mapping):
        return None, None
    done = next((meta[name] for name in ("current", "done", "progress") if name in meta), None)
    total = meta.get("total")
    is_number = isinstance(done, int | float)
    return (done, total if isinstance(total, int | float) else None) if is_number else (None, None)


def format_traceback(error: BaseException) -> str:
    """The traceback of an exception as text."""
    return "".join(traceback.format_exception(error))
