"""A job's row as the tasks API shows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db.models.base import ModelState

from ..core import clock
from ..core.compat import TaskError, TaskResult, TaskResultDoesNotExist
from ..core.sensitive import masked_call
from ..core.states import STATUS, State
from ..ledger.identity import ledger_database
from ..ledger.lifecycle import Call, job_of
from ..models import Attempt, Job

T = TypeVar("T")
FIRST_LOOK, LAST_LOOK = 0.05, 1.0
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
class JobResult(TaskResult, Generic[T]):  # type: ignore[misc,type-arg]
    """The result of a job: Django's TaskResult with the job beside it.

    deduplicated: the call did not make this job; an earlier one holds its dedup key.
    """

    job: Job
    deduplicated: bool = field(default=False, compare=False)

    def __repr__(self) -> str:
        """Without the result, and with sensitive arguments masked: a log may quote it."""
        args, kwargs = masked_call(self.task, self.args, self.kwargs)
        return (
            f"<JobResult {self.id} of {self.task.module_path}: {self.status}, "
            f"args={args!r}, kwargs={kwargs!r}>"
        )

    def refresh(self) -> None:
        """Read the job anew. Raises TaskResultDoesNotExist if it was pruned meanwhile."""
        row = (
            Job.objects.using(self.job._state.db or ledger_database())
            .filter(pk=self.job.pk)
            .first()
        )
        if row is None:
            raise TaskResultDoesNotExist(self.id)
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
        for pause in _pauses(self.id, timeout):
            self.refresh()
            if self.is_finished:
                break
            time.sleep(pause)
        value: T = self.return_value
        return value

    async def await_result(self, timeout: float | None = None) -> T:
        """See wait(); the event loop goes on meanwhile."""
        for pause in _pauses(self.id, timeout):
            await self.arefresh()
            if self.is_finished:
                break
            await asyncio.sleep(pause)
        value: T = self.return_value
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


def result_of(job: Job, task: Any, *, deduplicated: bool = False) -> JobResult[Any]:
    """The result that a row stands for. Earlier attempts are read only where there were any."""
    earlier = _attempts(job)
    result: JobResult[Any] = JobResult(
        task=task,
        id=str(job.pk),
        status=STATUS[State(job.state)],
        enqueued_at=job.enqueued_at,
        started_at=earlier[0].started_at if earlier else job.started_at,
        finished_at=job.finished_at,
        last_attempted_at=job.started_at,
        args=job.args,
        kwargs=job.kwargs,
        backend=job.backend,
        errors=[
            TaskError(exception_class_path=a.exception_class, traceback=a.traceback)
            for a in earlier
        ],
        worker_ids=_worker_ids(job, earlier),
        job=job,
        deduplicated=deduplicated,
    )
    object.__setattr__(result, "_return_value", job.result)
    return result


def _attempts(job: Job) -> list[Attempt]:
    if job.attempt == 0 or (job.attempt == 1 and job.state in (State.RUNNING, State.SUCCEEDED)):
        return []
    return list(Attempt.objects.using(job._state.db).filter(job=job.pk).order_by("attempt"))


def _worker_ids(job: Job, earlier: list[Attempt]) -> list[str]:
    """One id for each attempt that was made, so that `attempts` is their number."""
    ids = [str(attempt.worker) for attempt in earlier]
    if len(ids) < job.attempt:
        ids += [str(job.worker)] * (job.attempt - len(ids))
    return ids


def _pauses(job_id: str, timeout: float | None) -> Any:
    """Pauses between looks, growing; TimeoutError when the time is up."""
    end = None if timeout is None else clock.monotonic() + timeout
    pause = FIRST_LOOK
    while True:
        left = LAST_LOOK if end is None else end - clock.monotonic()
        yield max(0.0, min(pause, left))
        if left <= 0:
            raise TimeoutError(f"Job {job_id} is not final after {timeout:g} s.")
        pause = min(pause * 1.5, LAST_LOOK)
