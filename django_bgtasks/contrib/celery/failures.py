"""Failures of before: their exceptions, made again from what the ledger keeps."""

from __future__ import annotations

import traceback
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
    """An exception of this class with this message; of a new one if that cannot be made here."""
    try:
        cls = import_string(path) if "." in path else None
        error = cls(message) if cls is not None else RuntimeError(message)
    except Exception:
        error = None
    if isinstance(error, BaseException):
        return error
    module, _dot, name = path.rpartition(".")
    stand_in: Any = type(name or "TaskFailed", (Exception,), {"__module__": module or __name__})
    failure: BaseException = stand_in(message)
    return failure
