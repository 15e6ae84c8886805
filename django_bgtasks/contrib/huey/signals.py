"""Huey's signals and hooks: what tasks of this room send, in the process in which it happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ...core.errors import InvalidArguments
from ...core.payload import printable
from ...signals import process_started, process_stopping
from .exceptions import CancelExecution

logger = logging.getLogger("django_bgtasks")
F = TypeVar("F", bound=Callable[..., Any])
SIGNAL_CANCELED = "canceled"
SIGNAL_COMPLETE = "complete"
SIGNAL_ENQUEUED = "enqueued"
SIGNAL_ERROR = "error"
SIGNAL_EXECUTING = "executing"
SIGNAL_RETRYING = "retrying"
SIGNAL_SCHEDULED = "scheduled"
SIGNAL_TIMEOUT = "timeout"
_KNOWN = (
    *(SIGNAL_CANCELED, SIGNAL_COMPLETE, SIGNAL_ENQUEUED, SIGNAL_ERROR, SIGNAL_EXECUTING),
    *(SIGNAL_RETRYING, SIGNAL_SCHEDULED, SIGNAL_TIMEOUT),
)
# Each with the signals that it is for; none for all of them.
_receivers: list[tuple[Callable[..., Any], tuple[str, ...]]] = []
_before: dict[str, Callable[[Any], Any]] = {}
_after: dict[str, Callable[[Any, Any, Any], Any]] = {}


def connect_signal(*signals: str) -> Callable[[F], F]:
    """A decorator of what is called with (signal, task) at these signals, at all if none is named.

    At "error" the exception comes with them. Raises InvalidArguments for signals that are not
    sent here.
    """
    if unknown := [name for name in signals if name not in _KNOWN]:
        raise InvalidArguments(
            f"The signal {unknown[0]!r} is not sent here. task_finished and job_rescued tell of "
            f"what ends without its task. See docs/moving.md."
        )

    def connect(receiver: F) -> F:
        _receivers.append((receiver, signals))
        return receiver

    return connect


def disconnect_signal(receiver: Callable[..., Any], *signals: str) -> None:
    """Call it no more: at these signals, at all if none is named."""
    for entry in [entry for entry in _receivers if entry[0] is receiver]:
        _receivers.remove(entry)
        rest = tuple(name for name in entry[1] or _KNOWN if name not in signals)
        if signals and rest:
            _receivers.append((receiver, rest))


def send(signal: str, task: Any, *args: Any) -> None:
    """Call the receivers of a signal. What they raise is logged."""
    for receiver, signals in (*_receivers,):
        if not signals or signal in signals:
            _call_logged(receiver, signal, task, *args)


def pre_execute(name: Any = None) -> Any:
    """A decorator of what is called with the task before it runs; CancelExecution keeps it from
    running.
    """
    return _hook(_before, name)


def post_execute(name: Any = None) -> Any:
    """A decorator of what is called with (task, value, exception) after an attempt."""
    return _hook(_after, name)


def run_before(task: Any) -> None:
    """Call the hooks of pre_execute(). Raises CancelExecution."""
    for function in list(_before.values()):
        try:
            function(task)
        except CancelExecution:
            raise
        except Exception:
            logger.exception("A hook before a task raised.")


def run_after(task: Any, value: Any, exception: BaseException | None) -> None:
    """Call the hooks of post_execute()."""
    for function in list(_after.values()):
        _call_logged(function, task, value, exception)


def on_startup(name: Any = None) -> Any:
    """A decorator of what is called when a job process starts."""
    return _of_process(process_started, name)


def on_shutdown(name: Any = None) -> Any:
    """A decorator of what is called when a job process stops."""
    return _of_process(process_stopping, name)


def _of_process(signal: Any, name: Any) -> Any:
    def connect(function: F) -> F:
        def receiver(**_: Any) -> None:
            function()

        uid = f"django_bgtasks.contrib.huey:{name or function.__module__}:{function.__qualname__}"
        signal.connect(receiver, weak=False, dispatch_uid=uid)
        return function

    return connect


def _hook(hooks: dict[str, Any], name: Any) -> Any:
    def connect(function: F) -> F:
        hooks[name or function.__name__] = function
        return function

    return connect


def _call_logged(function: Callable[..., Any], *args: Any) -> None:
    try:
        function(*args)
    except Exception:
        name = printable(getattr(function, "__name__", repr(function)))
        logger.exception("%s raised, which a signal or hook of a task calls.", name)
