"""Tasks that run where they are called: `.apply()`, and `.delay()` in tests of Celery's kind."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from . import states
from .conf import configured
from .errors import CeleryRetry, Ignore, Reject
from .request import TaskRequest, innermost, pushed
from .result import EagerResult
from .shapes import as_sent_by
from .utils import make_task_id


def is_eager() -> bool:
    """Whether calls run at once, where they are made: CELERY_TASK_ALWAYS_EAGER."""
    return bool(configured("task_always_eager"))


def propagates() -> bool:
    """Whether such a call raises what its task raises: CELERY_TASK_EAGER_PROPAGATES."""
    return bool(configured("task_eager_propagates"))


def as_sent(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The arguments as a worker would get them. Raises InvalidArguments for what cannot be sent."""
    from ...jobs.enqueue import build
    from ...jobs.typed import value_of

    if task.is_local:
        # No worker could find it.
        return args, kwargs
    args, kwargs = as_sent_by(task, list(args)), as_sent_by(task, dict(kwargs))
    job = build(task.background_task, args, kwargs)
    arguments: Any = value_of([job.args, job.kwargs]) if job.types else (job.args, job.kwargs)
    return arguments


def run_eagerly(
    task: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    throw: bool | None,
    **values: Any,
) -> EagerResult:
    """Run a task with its retries, which do not wait, and what follows it.

    throw: raise what the task raises; the first Retry, too, and then no other attempt follows.
    """
    throw = propagates() if throw is None else throw
    task_id = str(values.pop("task_id", None) or make_task_id())
    around = innermost()
    parent = None if around is None else around[1]
    request = TaskRequest(
        id=task_id,
        task=task.name,
        args=list(args),
        kwargs=dict(kwargs),
        is_eager=True,
        called_directly=False,
        hostname=socket.gethostname(),
        parent_id=parent and parent.id,
        root_id=(parent and parent.root_id) or task_id,
        delivery_info={"is_eager": True, "exchange": None, "routing_key": None, "priority": None},
        **values,
    )
    while True:
        with pushed(task, request):
            result = _attempt(task, request, throw)
        if result is not None:
            return result
        request.retries += 1
        request.has_begun = False


def _attempt(task: Any, request: TaskRequest, throw: bool) -> EagerResult | None:
    """The result of one attempt; None if another one follows."""
    from .running import run_attempt, tell_failure_of

    try:
        value = run_attempt(task, request)
    except CeleryRetry:
        if throw:
            raise
        return None
    except (Ignore, Reject) as error:
        return EagerResult(request.id, error, states.IGNORED, name=task.name)
    except Exception as error:
        if throw:
            raise
        info = tell_failure_of(task, request, error)
        for errback in request.errbacks or ():
            errback.tell_error(request, error, info.traceback)
        return EagerResult(request.id, error, states.FAILURE, info.traceback, task.name)
    for callback in request.callbacks or ():
        callback.apply_async((value,))
    return EagerResult(request.id, value, states.SUCCESS, name=task.name)
