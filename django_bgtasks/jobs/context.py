"""What a task can ask and tell while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeVar
from uuid import UUID, uuid5

from asgiref.sync import async_to_sync, sync_to_async

from ..core import clock
from ..core.backport import ForBoth
from ..core.compat import Task, TaskContext
from ..core.current import running
from ..core.errors import ClaimLost, InvalidArguments, JobCancelled
from ..core.outcomes import Failure, failure_of
from ..core.payload import MAX_BYTES, fault_of, redact
from ..core.progress import Progress, progress_of
from ..core.retry import retry_of
from ..idempotency.once import once
from ..ledger import lifecycle
from ..ledger.connection import is_in_transaction, retry_if_lost
from ..ledger.database_errors import errors_of
from ..models import Batch, Job
from ..sandbox.connections import drop_connections
from ..sandbox.threads import in_passing
from ..workflows.open_batch import Insert, OpenBatch
from ..workflows.results import iterate_results
from .carried import carried_values
from .results import JobResult, result_of

logger = logging.getLogger("django_bgtasks")
T = TypeVar("T")
# Progress more often than this is not written: a tight loop must not become a write load.
WRITE_EVERY = 0.5


class JobContext(TaskContext, metaclass=ForBoth):  # type: ignore[type-arg]
    """Django's TaskContext, with progress, steps and cancellation.

    job: its row as it was claimed. exception: what the attempt raised, for a middleware's
    on_outcome(); None if it raised nothing, or its process died.
    """

    __slots__ = ("_clock", "_insert", "_result", "_unwritten", "exception", "job", "task", "using")
    job: Job
    task: Any
    using: str
    exception: BaseException | None
    _clock: dict[str, float]
    _unwritten: list[Progress]
    _result: JobResult[Any] | None
    _insert: Insert | None

    def __init__(self, job: Job, task: Any, using: str, insert: Insert | None = None) -> None:
        values = {"job": job, "task": task, "using": using, "exception": None, "_insert": insert}
        for name, value in {**values, "_clock": {}, "_unwritten": [], "_result": None}.items():
            # Django's context is frozen.
            object.__setattr__(self, name, value)

    @property
    def task_result(self) -> JobResult[Any]:  # type: ignore[override]
        """The job as the tasks API shows it; made when somebody asks."""
        result = self._result
        if result is None:
            result = retry_if_lost(lambda: result_of(self.job, self.task), self.using)
            object.__setattr__(self, "_result", result)
        return result

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        return self.job.pk

    @property
    def attempt(self) -> int:
        """1 in the first attempt."""
        return self.job.attempt

    @property
    def tick(self) -> datetime | None:
        """For which time a schedule has enqueued the job, the same in every attempt.

        It is when the job was due, and not when it began. None if no schedule has enqueued it.
        """
        return self.job.tick

    @property
    def batch(self) -> OpenBatch:
        """The batch of a workflow whose job this is; the running job can add jobs to it, and finds
        others of the workflow by their names: `context.batch["parts"].add(...)`.

        Raises InvalidArguments if the job is not a part of a workflow, or does not run here.
        """
        batch_id = self.job.batch
        if batch_id is None or self._insert is None:
            raise InvalidArguments(f"Job {self.job_id} is not one of a workflow that runs here.")
        row = Batch.objects.using(self.using).get(pk=batch_id)
        return OpenBatch(row, self.job, self._insert, self.using)

    def results(self) -> Iterator[Any]:
        """What the jobs that this step has waited for returned, in their order, read page by page;
        None for one that has not succeeded.
        """
        return iterate_results(self.job.gate, self.using)

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job fails for good if this attempt raises an exception.

        Not every exception is retried, and a crash may be retried where no exception is.
        """
        job = self.job
        return job.attempt >= job.max_attempts or not retry_of(job.retry, self.task).on

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt of this job: give it to payment and mail providers."""
        return str(self.job.pk)

    @property
    def carried(self) -> dict[str, Any]:
        """The values that the job carries, by their names; see OPTIONS["carry"]."""
        return carried_values(self.job)

    def step_key(self, step: str) -> str:
        """The idempotency key of one step of this job, the same in every attempt."""
        if fault := fault_of(step, MAX_BYTES):
            raise InvalidArguments(f"The name of a step {fault}")
        return str(uuid5(self.job.pk, step))

    def redact(self, text: str) -> str:
        """The text without the sensitive arguments of the call, such as an error that quotes them.

        What has no task here is not known to be sensitive or not: all arguments are left out.
        """
        return redact(text, self.task, self.job.args, self.job.kwargs)

    def failure_of(self, error: BaseException) -> Failure:
        """What is stored of an exception of this attempt: as text, short and redacted."""
        return failure_of(error).redacted(self.redact)

    def once(self, step: str, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a step's effect once for this job, whatever the attempt; see once()."""
        return once(self.step_key(step), func, *args, **{"scope": "job", **kwargs})

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the job is; written at most twice a second, and at the end.

        It harms no job: what is no number is shown as a progress of unknown size, and logged once.
        In an `atomic` task it is written when the task commits. Raises ClaimLost if the job is
        no longer this attempt's.
        """
        step = progress_of(done, total, message)
        if step.odd:
            kinds = f"{type(done).__name__} of {type(total).__name__}"
            self._log_once("odd", f"A progress that is no finite number ({kinds}) is left out.")
        self._unwritten[:] = [step]
        is_atomic = getattr(self.task, "atomic", False)
        if not is_atomic and (step.is_complete or self._is_time("progress")):
            flush_progress(self)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel this job; asked of the database twice a second."""
        if self._is_time("cancelled"):
            before = bool(self._clock.get("asked"))
            self._clock["asked"] = float(bool(self._is_cancelled(before)))
        return bool(self._clock.get("asked"))

    def heartbeat(self) -> None:
        """A point where a long loop stops if it has to.

        Raises JobCancelled if somebody asked to cancel the job, ClaimLost if it is no longer
        this attempt's.
        """
        if not self._is_time("heartbeat"):
            return
        is_cancelled = self._is_cancelled(False)
        if is_cancelled is None:
            raise ClaimLost(f"Attempt {self.attempt} of job {self.job_id} is no longer the owner.")
        if is_cancelled:
            raise JobCancelled.of("cancelled")

    async def aprogress(self, done: float, total: float | None = None, message: str = "") -> None:
        """progress(), for a coroutine."""
        await in_passing(self.progress, done, total, message)

    async def aheartbeat(self) -> None:
        """heartbeat(), for a coroutine."""
        await in_passing(self.heartbeat)

    async def acancelled(self) -> bool:
        """Whether somebody asked to cancel this job, for a coroutine."""
        return await in_passing(lambda: self.cancelled)

    async def aonce(self, step: str, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """once(), for a coroutine; func may be one too.

        It runs in a thread of its own, with its own connection: others need not wait for it.
        """
        # Wrapped: asgiref has names of its own for what it is called with.
        effect = partial(self._once, step, func, *args, **kwargs)
        return await sync_to_async(effect, thread_sensitive=False)()

    def _once(self, step: str, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        def awaited(*args: Any, **kwargs: Any) -> Any:
            return async_to_sync(partial(func, *args, **kwargs))()

        effect = awaited if iscoroutinefunction(func) else func
        try:
            return self.once(step, effect, *args, **kwargs)
        finally:
            drop_connections()

    def _is_cancelled(self, otherwise: bool) -> bool | None:
        found: bool | None = self._answer(
            partial(lifecycle.is_cancelled, self.job, self.using), otherwise
        )
        return found

    def _answer(self, question: Callable[[], Any], otherwise: Any) -> Any:
        """What the database answers; `otherwise` if it does not: the task need not wait for it.

        Within a transaction the error is the caller's, who may have lost more than this.
        """
        if is_in_transaction(self.using):
            return question()
        try:
            return retry_if_lost(question, self.using)
        except errors_of(self.using) as error:
            why = str(error).partition("\n")[0]
            self._log_once("away", f"The database did not answer ({why}); the task goes on.")
            return otherwise

    def _log_once(self, what: str, text: str) -> None:
        if what not in self._clock:
            self._clock[what] = clock.monotonic()
            logger.warning("Job %s (%s): %s", self.job_id, self.job.task, text)

    def _is_time(self, what: str) -> bool:
        now = clock.monotonic()
        if now < self._clock.get(what, 0.0):
            return False
        self._clock[what] = now + WRITE_EVERY
        return True


def context_of(job: Job, task: Any, using: str, insert: Insert | None = None) -> JobContext:
    """The context of an attempt: one of the tasks API that made its task; Django's without one.

    insert: how the job adds others to its workflow, if it runs.
    """
    kind = JobContext if task is None or isinstance(task, Task) else JobContext.of_backport
    context: JobContext = kind(job, task, using, insert)
    return context


def current_job() -> JobContext | None:
    """The context of the job that runs here, or None outside of one."""
    run = running.get()
    context: JobContext | None = None if run is None else run.context
    return context


def flush_progress(context: JobContext) -> None:
    """Write what progress() was given last, if it is not written yet.

    Not in the middle of a transaction: it would lock the job's row until the commit, for whoever
    wants to cancel the job or to rescue it.
    """
    while context._unwritten:
        last = context._unwritten.pop()
        write = partial(lifecycle.write_progress, context.job, last, context.using)
        if not context._answer(write, True):
            text = f"Attempt {context.attempt} of job {context.job_id} is no longer the owner."
            raise ClaimLost(text)
        _save_log(context)


def _save_log(context: JobContext) -> None:
    """Write the lines that are logged so far with the progress: a kill would lose them."""
    run = running.get()
    if run is None or run.log is None or run.job is not context.job:
        return
    if log := run.log.new_lines():
        context._answer(partial(lifecycle.write_log, context.job, log, context.using), None)
