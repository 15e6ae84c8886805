"""A job's row as the tasks API shows it, and the signals that are sent with it."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload
from weakref import ReferenceType

from asgiref.sync import sync_to_async
from django.db.models.base import ModelState

from ..core import clock
from ..core.backport import ForBoth, loaded_backport
from ..core.compat import (
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    api_signals,
    for_both,
)
from ..core.current import announced
from ..core.options import backend_class
from ..core.payload import masked_call
from ..core.site_code import log_failure
from ..core.states import STATUS, State
from ..ledger.connection import retry_until_connected
from ..ledger.lifecycle import Call, job_of, ledger_database
from ..ledger.workers import INLINE_WORKER
from ..models import Attempt, Job
from ..signals import job_deduplicated, job_rescued, job_retrying
from .typed import value_of

T = TypeVar("T")
FIRST_LOOK, LAST_LOOK = 0.05, 1.0
# Of the line that the tasks API's own receiver logs with each of its signals.
LEVELS = {
    "task_enqueued": logging.DEBUG,
    "task_started": logging.INFO,
    "task_finished": logging.INFO,
}
SIGNALS = {
    "job_deduplicated": job_deduplicated,
    "job_rescued": job_rescued,
    "job_retrying": job_retrying,
}
# At which the tasks API's own receivers log here, if not as they would.
_level: ContextVar[int | None] = ContextVar("bgtasks_level", default=None)
FRESH = (
    "errors",
    "_return_value",
    "finished_at",
    "started_at",
    "last_attempted_at",
    "status",
    "enqueued_at",
    "worker_ids",
    "job",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult(TaskResult, Generic[T], metaclass=ForBoth):  # type: ignore[misc,type-arg]
    """The result of a job: Django's TaskResult with the job beside it.

    deduplicated: the call did not make this job; an earlier one holds its dedup key.
    """

    job: Job
    deduplicated: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Django makes JSON of the arguments here, a copy for each result: these are JSON."""

    def __repr__(self) -> str:
        """Without the result, and with sensitive arguments masked: a log may quote it."""
        args, kwargs = masked_call(self.task, self.args, self.kwargs)
        return (
            f"<JobResult {self.id} of {self.task.module_path}: {self.status}, "
            f"args={args!r}, kwargs={kwargs!r}>"
        )

    @property
    def return_value(self) -> Any:
        """What the task returned. Raises ValueError unless the job has succeeded.

        With types="django" model instances are read now, and ObjectGone says that one is gone.
        """
        value = TaskResult.return_value.fget(self)  # type: ignore[attr-defined]
        return value_of(value) if self.job.types else value

    def refresh(self) -> None:
        """Read the job anew. Raises TaskResultDoesNotExist if it was pruned meanwhile."""
        row = (
            Job.objects.using(self.job._state.db or ledger_database())
            .filter(pk=self.job.pk)
            .first()
        )
        if row is None:
            raise for_both(TaskResultDoesNotExist(self.id))
        fresh = result_of(row, self.task)
        for name in FRESH:
            object.__setattr__(self, name, getattr(fresh, name))

    async def arefresh(self) -> None:
        """See refresh()."""
        await sync_to_async(self.refresh, thread_sensitive=True)()

    def wait(self, timeout: float | None = None) -> T:
        """Wait until the job is final and return its return value.

        timeout: seconds; TimeoutError if the job is not final by then. A failed job raises
        ValueError, as `return_value` does. In a transaction the job could not even begin.
        """
        for pause in pauses(f"Job {self.id}", timeout):
            self.refresh()
            if self.is_finished:
                break
            time.sleep(pause)
        value: T = self.return_value
        return value

    async def await_result(self, timeout: float | None = None) -> T:
        """See wait(); the event loop goes on meanwhile."""
        for pause in pauses(f"Job {self.id}", timeout):
            await self.arefresh()
            if self.is_finished:
                break
            await asyncio.sleep(pause)
        # It may ask the database.
        read = sync_to_async(lambda: self.return_value, thread_sensitive=True)
        value: T = await read() if self.job.types else self.return_value
        return value


class Results(Sequence[JobResult[Any]]):
    """The results of many calls, in their order. Each is made when somebody asks for it."""

    def __init__(self, first: Job, calls: Sequence[Call], task: Any, using: str) -> None:
        self._first, self._calls, self._task, self._using = first, calls, task, using
        # The rows have the database's time; this estimate spares the statement to read it.
        self._enqueued_at = clock.now_as_stored()

    def __len__(self) -> int:
        return len(self._calls)

    @overload
    def __getitem__(self, index: int) -> JobResult[Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> JobResult[Any] | Results:
        if isinstance(index, slice):
            return Results(self._first, self._calls[index], self._task, self._using)
        job = job_of(self._first, self._calls[index])
        job.enqueued_at = self._enqueued_at
        job._state = ModelState()
        job._state.adding, job._state.db = False, self._using
        return result_of(job, self._task)


class UnsavedJobs(Sequence[Job]):
    """The jobs of calls that differ in their arguments only, as a middleware sees them."""

    def __init__(self, first: Job, calls: Sequence[Call]) -> None:
        self._first, self._calls = first, calls

    def __len__(self) -> int:
        return len(self._calls)

    @overload
    def __getitem__(self, index: int) -> Job: ...

    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...

    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        return job_of(self._first, self._calls[numbers]) if numbers else self._first


def result_of(job: Job, task: Any, *, deduplicated: bool = False) -> JobResult[Any]:
    """The result that a row stands for. Earlier attempts are read only where there were any."""
    earlier, status = _attempts(job), STATUS[State(job.state)]
    kind, error = JobResult, TaskError
    if not isinstance(task, Task):
        base = loaded_backport().base
        kind, error, status = JobResult.of_backport, base.TaskError, base.TaskResultStatus(status)
    result: JobResult[Any] = kind(
        task=task,
        id=str(job.pk),
        status=status,
        enqueued_at=job.enqueued_at,
        started_at=earlier[0].started_at if earlier else job.started_at,
        finished_at=job.finished_at,
        last_attempted_at=job.started_at,
        args=job.args,
        kwargs=job.kwargs,
        backend=job.backend,
        errors=[
            error(exception_class_path=a.exception_class, traceback=a.traceback) for a in earlier
        ],
        worker_ids=_worker_ids(job, earlier),
        job=job,
        deduplicated=deduplicated,
    )
    object.__setattr__(result, "_return_value", job.result)
    return result


def announce(
    name: str,
    job: Job,
    task: Any,
    result: JobResult[Any] | None = None,
    level: int | None = None,
) -> None:
    """Send the signal of this name about a job; nothing else sends one.

    Those of the tasks API go to the receivers of Django's and of the backport's, where anybody
    listens. A receiver that raises is logged and harms nobody else. task: None if it is
    not known here; then nothing is sent. result: what is sent with it, if it is there already.
    level: at which the API's own receiver logs, without a traceback; None leaves it to that.
    """
    has_receivers = name in SIGNALS or is_heard(name, job.state in (State.FAILED, State.CANCELLED))
    if task is None or not has_receivers:
        return
    if result is None:
        using = job._state.db or ledger_database()
        result = retry_until_connected(lambda: result_of(job, task), using)
    signals = (
        [SIGNALS[name]] if name in SIGNALS else [getattr(one, name) for one in _signal_modules()]
    )
    token = announced.set(job)
    try:
        with calmed(level):
            for signal in signals:
                try:
                    signal.send_robust(sender=backend_class(job.backend), task_result=result)
                except BaseException as error:
                    # Django's own care is for mere exceptions.
                    log_failure(error, "A receiver of %s raised for job %s.", name, job.pk)
    finally:
        announced.reset(token)


@contextmanager
def calmed(level: int | None) -> Iterator[None]:
    """Within it what the tasks API itself logs as an error has this level and no traceback."""
    if level is None:
        yield
        return
    for module in _signal_modules():
        module.logger.addFilter(_calm_down)
    token = _level.set(level)
    try:
        yield
    finally:
        _level.reset(token)


def _calm_down(record: logging.LogRecord) -> bool:
    level = _level.get()
    if level is not None and record.levelno >= logging.ERROR:
        record.levelno, record.levelname = level, logging.getLevelName(level)
        record.exc_info = record.exc_text = None
        return logging.getLogger(record.name).isEnabledFor(level)
    return True


def is_heard(name: str, failed: bool = False) -> bool:
    """Whether a signal of the tasks API has a receiver who will do something.

    The API's own receivers only log: failures as errors.
    """
    level = logging.ERROR if failed else LEVELS[name]
    for module in _signal_modules():
        if module.logger.isEnabledFor(level):
            return True
        for entry in getattr(module, name).receivers:
            receiver = entry[1]() if isinstance(entry[1], ReferenceType) else entry[1]
            if receiver is not None and getattr(receiver, "__module__", "") != module.__name__:
                return True
    return False


def _signal_modules() -> list[Any]:
    """Those with the signals of the tasks APIs in use; the backport's only where it is loaded."""
    backport = sys.modules.get("django_tasks.signals")
    return [api_signals] if backport in (None, api_signals) else [api_signals, backport]


def _attempts(job: Job) -> list[Attempt]:
    if job.attempt == 0 or (job.attempt == 1 and job.state in (State.RUNNING, State.SUCCEEDED)):
        return []
    return list(Attempt.objects.using(job._state.db).filter(job=job.pk).order_by("attempt"))


def _worker_ids(job: Job, earlier: list[Attempt]) -> list[str]:
    """One id for each attempt that was made, so that `attempts` is their number."""
    ids = [attempt.worker for attempt in earlier]
    if len(ids) < job.attempt:
        ids += [job.worker] * (job.attempt - len(ids))
    return ["inline" if worker == INLINE_WORKER else str(worker) for worker in ids]


def pauses(what: str, timeout: float | None) -> Any:
    """Pauses between looks, growing; TimeoutError when the time is up."""
    end = None if timeout is None else clock.monotonic() + timeout
    pause = FIRST_LOOK
    while True:
        left = LAST_LOOK if end is None else end - clock.monotonic()
        yield max(0.0, min(pause, left))
        if left <= 0:
            raise TimeoutError(f"{what} is not final after {timeout:g} s.")
        pause = min(pause * 1.5, LAST_LOOK)
