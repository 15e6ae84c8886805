"""`@shared_task`: a function becomes a task of Celery's kind, and one of django_bgtasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, overload

from django.conf import settings

from ....core.compat import DEFAULT_TASK_QUEUE_NAME
from ....core.options import default_backend
from ....core.retry import MAX_CRASHES, Retry
from ....jobs.task import BackgroundTask, declare_queue
from ....jobs.task import task as background_task
from .. import checks  # noqa: F401 - it registers itself
from ..beat import declare_entries, watch_beat
from ..conf import configured
from ..errors import refuse_task
from ..limits import check_limits, our_priority, rate_of_limit, timeout_of
from ..mixed import celery_module, is_mixed, original_task, shared_base
from ..options import OWN, check_definition
from ..registry import APPS, TASKS
from ..request import EXTRAS
from ..retries import most_attempts
from ..task_routes import placed
from .task import CeleryTask

# Where a task says nothing.
OF_SETTINGS = {
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
    "priority": "task_default_priority",
    "rate_limit": "task_default_rate_limit",
    "ignore_result": "task_ignore_result",
    "track_started": "task_track_started",
    "serializer": "task_serializer",
}
# Tasks that were defined before the settings were there, as in the module of the app.
_early: list[CeleryTask] = []


@overload
def shared_task(function: Callable[..., Any], /, **options: Any) -> CeleryTask: ...


@overload
def shared_task(**options: Any) -> Callable[[Callable[..., Any]], CeleryTask]: ...


def shared_task(*args: Any, **options: Any) -> Any:
    """Make a function a task, as Celery's shared_task does; bare, or with options by their names.

    Options of django_bgtasks, such as dedup_key, limit, rate, sequence, label and sensitive, may
    stand among them. Raises InvalidTask for what means something else here.
    """
    if args and not (len(args) == 1 and callable(args[0])):
        raise TypeError("@shared_task takes a function, or options by their names.")
    return define(args[0], options) if args else partial(define, options=options)


def define(function: Callable[..., Any], options: Mapping[str, Any]) -> CeleryTask:
    """The task of a function with these options."""
    if isinstance(function, CeleryTask):
        raise TypeError("@shared_task was applied more than once to the same function.")
    rest = {name: value for name, value in options.items() if name not in OWN}
    name = rest.pop("name", None) or f"{function.__module__}.{function.__name__}"
    base, bind = rest.pop("base", None) or _base(), rest.pop("bind", False)
    of_base = {key: getattr(base, key) for key in ("Request", "Strategy") if hasattr(base, key)}
    check_definition(name, {**of_base, **options} if issubclass(base, CeleryTask) else options)
    if inspect.iscoroutinefunction(function):
        text = "a coroutine function would never be awaited there. Here @task takes one: from "
        raise refuse_task(name, f"{text}django_bgtasks import task.")
    kind = type(
        function.__name__,
        shared_base(base, CeleryTask),
        {
            **rest,
            "name": name,
            "run": function if bind else staticmethod(function),
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "abstract": False,
        },
    )
    task: CeleryTask = kind()
    path = f"{function.__module__}.{function.__qualname__}"
    names = {"__name__": function.__name__, "__qualname__": function.__qualname__, "path": path}
    vars(task).update(names, __wrapped__=function)
    own = {name: value for name, value in options.items() if name in OWN}
    if is_mixed():
        original_options = {key: value for key, value in options.items() if key not in OWN}
        if original_options.get("base") and issubclass(original_options["base"], CeleryTask):
            raise refuse_task(name, "with ROUTES the base of a task is Celery's Task.")
        task.original = original_task(function, original_options)
        watch_beat()
        celery_errors = celery_module("celery.exceptions")
        task.MaxRetriesExceededError = celery_errors.MaxRetriesExceededError
    return register_moved(task, function, bind, own)


def register_moved(
    task: CeleryTask, function: Callable[..., Any], bind: bool, own: Mapping[str, Any]
) -> CeleryTask:
    """Make a task known, with its background task as soon as there are settings."""
    task._complete = partial(_complete, task, function, bind, own)
    TASKS.register(task)
    _early.append(task)
    if settings.configured:
        complete_early()
    return task


def complete_early() -> None:
    """Make the background tasks of what was defined before the settings were there."""
    while _early:
        task = _early.pop(0)
        # A function within another one is no job's: a test may call it.
        if not task.is_local and task.background_task is not None:
            declare_entries(task)


def _base() -> type[CeleryTask]:
    return APPS[-1].Task if APPS else CeleryTask


def _complete(
    task: CeleryTask, function: Callable[..., Any], bind: bool, own: Mapping[str, Any]
) -> BackgroundTask[Any, Any]:
    configure(task)
    check_limits(task.time_limit, task.soft_time_limit)
    queue, priority = placed(task, {})
    backend = own.get("backend") or default_backend()
    for named in configured("task_queues") or ():
        declare_queue(backend, str(getattr(named, "name", named)))
    options = {
        "priority": 0 if priority is None else our_priority(priority),
        "queue_name": queue or configured("task_default_queue") or DEFAULT_TASK_QUEUE_NAME,
        "types": "django",
        "retry": Retry(max_attempts=max(most_attempts(task), MAX_CRASHES), on=()),
        "timeout": timeout_of(task.time_limit, backend),
        "expires": task.expires,
        "on_failure": _tell_failure,
        "expected": tuple(task.throws or ()),
    }
    if task.rate_limit:
        options["rate"] = rate_of_limit(task.name, task.rate_limit)
        task.own_rate = own.get("rate")
    if is_run_once(task):
        options["on_crash"] = "fail"
    decorator: Any = background_task(**{**options, **own})
    background: BackgroundTask[Any, Any] = decorator(_runner(task, function, bind))
    task.on_bound(task.app)
    return background


def configure(task: CeleryTask) -> None:
    """Give a task what the settings say of all tasks, and of this one."""
    for attribute, setting in OF_SETTINGS.items():
        if getattr(task, attribute) is None:
            setattr(task, attribute, configured(setting))
    annotations = configured("task_annotations") or ()
    for each in annotations if isinstance(annotations, list | tuple) else [annotations]:
        for attribute, value in {**each.get("*", {}), **each.get(task.name, {})}.items():
            setattr(task, attribute, value)


def is_run_once(task: CeleryTask) -> bool:
    """Whether a job whose process dies must not run again: it was to be acknowledged before."""
    if task.retry_on_worker_lost:
        return False
    return task.acks_late is False or task.reject_on_worker_lost is False


def _runner(task: CeleryTask, function: Callable[..., Any], bind: bool) -> Any:
    """What a worker calls: the task with the arguments of a job."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        from ..running import run_in_worker

        return run_in_worker(task, args, kwargs)

    runner: Any = run
    runner.task = task
    runner.__signature__ = (
        _signature_of_call(function, bind) if task.typing else _signature_of_call(_anything, True)
    )
    return runner


def _anything(self: Any, *args: Any, **kwargs: Any) -> None:
    """What a task is called with that does not look at its arguments before it runs."""


def _signature_of_call(function: Callable[..., Any], bind: bool) -> inspect.Signature:
    """What a call may be given: not `self`, and besides its own what Celery has in its message."""
    whole = inspect.signature(function)
    parameters = list(whole.parameters.values())[1 if bind else 0 :]
    kind = inspect.Parameter
    extra = kind(EXTRAS, kind.KEYWORD_ONLY, default=None)
    has_rest = bool(parameters) and parameters[-1].kind is kind.VAR_KEYWORD
    place = len(parameters) - has_rest
    return whole.replace(parameters=[*parameters[:place], extra, *parameters[place:]])


def _tell_failure(context: Any, outcome: Any) -> None:
    from ..running import tell_failure

    tell_failure(context, outcome)
