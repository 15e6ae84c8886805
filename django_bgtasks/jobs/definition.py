"""What the definition of a task, and a copy of it, may say: what could not work is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from ..core.aliases import check_aliases
from ..core.compat import InvalidTask
from ..core.errors import InvalidArguments, InvalidSchedule
from ..core.labels import check_label
from ..core.limits import check_limit
from ..core.options import TYPES
from ..core.payload import check_sensitive, fault_of, json_value, refuse_wrong_call
from ..core.retry import Retry, exceptions
from ..core.spans import fault_of_time, span_of
from ..core.timing import NAME_LENGTH, Timing
from ..core.values import TYPED

MOST_SECONDS = 10**7


def validate_call(task: Any) -> None:
    """Refuse what no database could keep of a task, Django's own included, with InvalidTask."""
    if fault := fault_of(task.queue_name, 100):
        raise InvalidTask(f"the name of a queue {fault}")
    if task.run_after is not None and (fault := fault_of_time(task.run_after)):
        raise InvalidTask(f"run_after {fault}")
    if not isinstance(task.priority, int | float) or math.isnan(task.priority):
        raise InvalidTask(f"priority is a whole number, not {task.priority!r}.")


def validate(task: Any) -> None:
    """Refuse options that could not work, with InvalidTask that says which and why."""
    name = task.module_path
    if not task.func.__qualname__.isidentifier():
        # A method or a lambda: no worker could import it by its path.
        raise InvalidTask(f"{name}: a task must be defined at a module level, as a function.")
    if not isinstance(task.retry, Retry):
        raise InvalidTask(f"{name}: retry takes a Retry, such as Retry(max_attempts=5).")
    timeout = task.timeout
    if timeout is not None and not (
        isinstance(timeout, int | float) and 0 < timeout <= MOST_SECONDS
    ):
        raise InvalidTask(
            f"{name}: timeout is in seconds and above 0, not {timeout!r}. "
            f"It is at most {MOST_SECONDS}."
        )
    if not (task.dedup_key is None or isinstance(task.dedup_key, str) or callable(task.dedup_key)):
        raise InvalidTask(
            f"{name}: dedup_key is a format string or a callable, not {task.dedup_key!r}."
        )
    _check_scope(name, task.dedup_scope)
    if task.on_duplicate not in ("return", "replace", "raise"):
        raise InvalidTask(f"{name}: on_duplicate is 'return', 'replace' or 'raise'.")
    if task.on_crash not in ("retry", "fail"):
        raise InvalidTask(f"{name}: on_crash is 'retry' or 'fail', not {task.on_crash!r}.")
    if not isinstance(task.inline, bool):
        raise InvalidTask(f"{name}: inline is True or False, not {task.inline!r}.")
    if task.inline and task.run_after is not None:
        raise InvalidTask(
            f"{name}: a job with run_after waits for a worker, and inline=True says that none "
            f"runs it. Leave out one of the two."
        )
    # Its class needs the models, which are not there yet where tasks are defined.
    if task.batch is not None and not hasattr(task.batch, "locked"):
        raise InvalidTask(
            f"{name}: batch takes what `with batch()` gives, or context.batch, not "
            f"{task.batch!r}. A workflow that is enqueued grows by its own jobs only."
        )
    check_limit(task)
    _check_types(name, task)
    _check_expires(name, task.expires)
    check_aliases(name, task.aliases)
    check_sensitive(task)
    check_label(task)
    _check_expected(name, task.expected)
    _check_on_failure(name, task.on_failure)
    if task.schedule is not None:
        check_schedule(task)


def _check_types(name: str, task: Any) -> None:
    if task.types not in (None, *TYPES):
        raise InvalidTask(f"{name}: types is 'json' or 'django', not {task.types!r}.")
    if task.log not in (None, True, False):
        raise InvalidTask(f"{name}: log is True or False, not {task.log!r}.")
    if task.missing not in ("fail", "skip"):
        raise InvalidTask(f"{name}: missing is 'fail' or 'skip', not {task.missing!r}.")


def _check_expected(name: str, expected: Any) -> None:
    try:
        if not isinstance(expected, type | tuple | list):
            raise ValueError(f"expected takes exception classes, not {expected!r}.")
        exceptions("expected", expected)
    except ValueError as error:
        raise InvalidTask(f"{name}: {error}") from None


def _check_on_failure(name: str, function: Any) -> None:
    if isinstance(function, str):
        is_right = "." in function and all(part.isidentifier() for part in function.split("."))
    else:
        is_right = function is None or callable(function)
    if not is_right:
        text = "on_failure is a function of (context, outcome), or the dotted path of one"
        raise InvalidTask(f"{name}: {text}, not {function!r}. A task is none: let it enqueue that.")


def timings_of(task: Any) -> tuple[Timing, ...]:
    """The times at which jobs of a task are enqueued by themselves."""
    schedule = task.schedule
    return tuple(schedule) if isinstance(schedule, tuple | list) else (schedule,) * bool(schedule)


def schedule_name(path: str, timing: Timing) -> str:
    """The name of a schedule that the task at this path declares."""
    return f"{path}:{timing.name}" if timing.name else path


def check_schedule(task: Any) -> None:
    """Refuse times that are none, and calls that the task does not take.

    Raises InvalidSchedule, or InvalidArguments.
    """
    path = task.module_path
    for timing in timings_of(task):
        if not isinstance(timing, Timing):
            raise InvalidSchedule(
                f'{path}: schedule takes Cron("0 6 * * *"), Every(minutes=10), or a list of them, '
                f"not {timing!r}."
            )
        if fault := fault_of(schedule_name(path, timing), NAME_LENGTH):
            raise InvalidSchedule(f"{path}: the name of a schedule {fault}")
        when_path(timing.when)
        check_call(task, timing.args, timing.kwargs or {})
    names = [timing.name for timing in timings_of(task)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidSchedule(
            f"{path}: two of its schedules have the name {twice[0]!r}. Tell them apart, as with "
            f'Every(minutes=10) and Cron("@daily", name="full").'
        )


def check_call(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidArguments for a call that the task does not take, or no row can keep."""
    refuse_wrong_call(task, args, kwargs)
    if task.types != TYPED:
        json_value([*args], "args", task.module_path, InvalidArguments)
        json_value({**kwargs}, "kwargs", task.module_path, InvalidArguments)


def when_path(when: Any) -> str:
    """The dotted path of a predicate, by which workers find it; empty for none."""
    if when is None or isinstance(when, str):
        return when or ""
    path = f"{getattr(when, '__module__', '')}.{getattr(when, '__qualname__', '')}"
    if not all(part.isidentifier() for part in path.split(".")):
        raise InvalidSchedule(
            f"when takes a function at the top level of a module, which workers can import, or "
            f"its dotted path, not {when!r}."
        )
    return path


def _check_expires(name: str, expires: Any) -> None:
    """A time, or a length of time that is above 0."""
    if isinstance(expires, datetime):
        if settings.USE_TZ and timezone.is_naive(expires):
            raise InvalidTask(f"{name}: expires must be an aware datetime.")
        if fault := fault_of_time(expires):
            raise InvalidTask(f"{name}: expires {fault}")
    elif expires is not None:
        try:
            span = span_of(expires, "expires")
        except (TypeError, ValueError) as error:
            raise InvalidTask(f"{name}: {error}") from None
        if not span:
            raise InvalidTask(f"{name}: expires is above 0: no job could begin in time.")


def _check_scope(name: str, scope: Any) -> None:
    if not isinstance(scope, timedelta):
        if scope not in ("live", "queued"):
            text = "dedup_scope is 'live', 'queued' or a timedelta"
            raise InvalidTask(f"{name}: {text}, not {scope!r}.")
        return
    try:
        span_of(scope, "dedup_scope")
    except ValueError as error:
        raise InvalidTask(f"{name}: {error}") from None
