"""How a job calls a function of an app that was written for RQ, with RQ's callbacks around it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from pkgutil import resolve_name
from typing import Any

from asgiref.sync import async_to_sync
from django.core.signing import BadSignature, Signer

from ...core.errors import GiveUp, InvalidArguments, RetryLater
from ...core.outcomes import Outcome
from ...core.payload import json_value, printable
from ...core.values import typed_copy
from ...jobs.task import task
from .calls import FUNCTION_TASK

logger = logging.getLogger("django_bgtasks")
# So many seconds apart a job looks whether those that it depends on have ended.
FIRST_LOOK, LAST_LOOK = 1.0, 30.0
Extras = Mapping[str, Any]
_signer = Signer(salt="django_bgtasks.contrib.rq")


def with_callbacks(function: Callable[..., Any], extras: Extras) -> Callable[..., Any]:
    """The function of a decorated task: it has the path and the signature of this one."""

    @wraps(function)
    def perform(*args: Any, **kwargs: Any) -> Any:
        return perform_call(function, args, kwargs, extras)

    return perform


def perform_call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], extras: Extras
) -> Any:
    """Call it as RQ's worker does: after its dependencies, and its callbacks after it."""
    if extras.get("depends_on"):
        await_dependencies(extras["depends_on"], bool(extras.get("allow_failure")))
    args, kwargs = _passed_call(args, kwargs)
    act = async_to_sync(function) if iscoroutinefunction(function) else function
    try:
        value = act(*args, **kwargs)
        if hasattr(value, "enqueue_at_front") and hasattr(value, "intervals"):
            raise GiveUp(
                "The function returned a Retry, by which RQ would run it again. Raise "
                "RetryLater(60) here. See docs/moving.md."
            )
    except Exception:
        call_failure(extras, *sys.exc_info())
        raise
    if callback := extras.get("on_success"):
        _function(callback)(_job(), None, value)
    return value


def _passed_call(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments, or of a queue that runs at once the very objects that were passed."""
    from ...jobs.context import current_job
    from ...jobs.inline import passed_calls

    current = current_job()
    passed = None if current is None else passed_calls.get(current.job_id)
    if passed is None:
        return args, kwargs
    if current is not None and current.task.module_path == FUNCTION_TASK:
        return passed[0][2], passed[0][3]
    return passed


def call_failure(extras: Extras, *exc_info: Any) -> None:
    """Call on_failure(job, connection, type, value, traceback). What it raises is logged."""
    if not (callback := extras.get("on_failure")) or issubclass(exc_info[0], RetryLater):
        return
    try:
        _function(callback)(_job(), None, *exc_info)
    except Exception:
        logger.exception("on_failure of a job raised.")


def await_dependencies(ids: Sequence[str], allow_failure: bool) -> None:
    """Raise RetryLater while one of these jobs is live, and GiveUp if one has failed."""
    from .handle import RqJob

    for job_id in ids:
        job = RqJob.find(job_id)
        if job is None or job.is_finished:
            # One that is not there any more has ended long ago.
            continue
        if not job.is_final:
            current = _job()
            age = 0.0 if current is None else current.age
            raise RetryLater(min(max(age / 4, FIRST_LOOK), LAST_LOOK), f"waits for job {job_id}")
        if not allow_failure:
            raise GiveUp(f"Job {job_id}, on which it depends, has not succeeded.")


def after_failure(context: Any, outcome: Outcome) -> None:
    """Call the callback of a job that failed without an exception: its process is gone."""
    if context.exception is not None:
        return
    failure = outcome.failure
    error = RuntimeError(failure.message if failure else "The job has failed.")
    call_failure(_extras_of(context), type(error), error, None)


def _extras_of(context: Any) -> Extras:
    own: Any = getattr(context.task.func, "rq_extras", None)
    if own is not None:
        return own  # type: ignore[no-any-return]
    from ...jobs.typed import value_of

    path, signature, _args, _kwargs, stored = value_of(context.job.args)
    return stored if is_signed(path, signature, stored) else {}


def _label(path: str, *_rest: Any, **_names: Any) -> str:
    return path


@task(types="django", label=_label, on_failure=after_failure)
def call_function(
    path: str, signature: str, args: Sequence[Any], kwargs: dict[str, Any], extras: dict[str, Any]
) -> Any:
    """Call the function at this path: that of an enqueue() of a function that is no task.

    signature: of the paths. Who may edit the arguments of jobs must not choose functions.
    """
    if not is_signed(path, signature, extras):
        raise GiveUp(
            f"The path {printable(path)}, or that of a callback, is not what was enqueued, or the "
            f"SECRET_KEY of that time is in SECRET_KEY_FALLBACKS no more."
        )
    found = resolve_name(path)
    return perform_call(getattr(found, "function", found), args, kwargs, extras)


@contextmanager
def refusals_of_function(task: Any, args: Sequence[Any]) -> Iterator[None]:
    """Let what is refused of the arguments of call_function() name the function and its own."""
    try:
        yield
    except InvalidArguments:
        if task.module_path == FUNCTION_TASK:
            path, _signature, own_args, own_kwargs, _extras = args
            for what, values in (("args", own_args), ("kwargs", own_kwargs)):
                json_value(values, what, path, copied_by=typed_copy)
        raise


def sign(path: str, extras: Extras) -> str:
    """The signature of a function's path, and of its callbacks' paths."""
    return _signer.signature(_paths_in(path, extras))


def is_signed(path: str, signature: str, extras: Extras) -> bool:
    """Whether this is the signature of these paths."""
    try:
        _signer.unsign(f"{_paths_in(path, extras)}{_signer.sep}{signature}")
    except BadSignature:
        return False
    return True


def _paths_in(path: str, extras: Extras) -> str:
    callbacks = [extras.get("on_success") or "", extras.get("on_failure") or ""]
    return "\n".join([path, *callbacks])


def _function(callback: Any) -> Any:
    return resolve_name(callback) if isinstance(callback, str) else callback


def _job() -> Any:
    from .handle import get_current_job

    return get_current_job()
