"""Failures of before: their exceptions, made again from what the ledger keeps."""

from __future__ import annotations

import traceback
from ast import literal_eval
from functools import partial
from typing import Any

from django.utils.module_loading import import_string

from ...models import Attempt, Job


class ExceptionInfo:
    """What hooks get as `einfo`: the exception, its type and its traceback as text."""

    def __init__(self, error: BaseException) -> None:
        self.exception, self.type = error, type(error)
        self.tb = error.__traceback__
        self.traceback = "".join(traceback.format_exception(error))
        self.internal = False

    @property
    def exc_info(self) -> Any:
        """As sys.exc_info() gives it."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback


def last_attempt(job: Job) -> Attempt | None:
    """The last attempt of a job that did not succeed."""
    rows = Attempt.objects.using(job._state.db).filter(job=job.pk)
    return rows.order_by("-attempt").first()


def exception_of_job(job: Job) -> BaseException:
    """The exception with which the last attempt of a job failed."""
    attempt = last_attempt(job)
    if attempt is None:
        return RuntimeError(job.error)
    return exception_of(attempt.exception_class, attempt.message)


def exception_of(path: str, message: str) -> BaseException:
    """An exception of this class with this message.

    Where the class takes other arguments it is made without them, so that `except` catches it all
    the same; where there is no such class, or it cannot show itself then, one of its name is made.
    """
    cls = _class_at(path)
    args = _arguments_of(cls, message)
    error = _try_to_make(cls, args, message) or _try_to_make(partial(_bare, cls), args, message)
    if error is not None:
        return error
    stand_in = type(cls.__name__, (_StandIn, cls), {"__module__": cls.__module__})
    return _bare(stand_in, message)


def _try_to_make(make: Any, args: tuple[Any, ...], message: str) -> BaseException | None:
    """The exception that comes of these arguments, if it says what it said."""
    try:
        error = make(*args)
        says_so = message in str(error)
    except Exception:
        return None
    return error if says_so and isinstance(error, BaseException) else None


def _bare(cls: Any, *args: Any) -> BaseException:
    """An exception of this class with these arguments, without what the class does of its own."""
    native = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    error: BaseException = native.__new__(cls, *args)
    error.args = args
    return error


class _StandIn(Exception):
    """In front of a class that cannot be made, or not be shown, with a message alone."""

    __str__ = BaseException.__str__


def _class_at(path: str) -> Any:
    """The class of exceptions with this path, or one that has its name."""
    module, _dot, name = path.rpartition(".")
    if not module:
        return RuntimeError
    try:
        found = import_string(path)
    except Exception:
        found = None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    return type(name, (Exception,), {"__module__": module})


def _arguments_of(cls: Any, message: str) -> tuple[Any, ...]:
    """What stands for its arguments. The message of a KeyError is the key as Python writes it."""
    if cls.__str__ is not KeyError.__str__:
        return (message,)
    try:
        return (literal_eval(message),)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return (message,)
