"""The result of one call by its id, as Celery gives it; the ledger has it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from . import states
from .errors import ChordError, ResultTimeoutError
from .mixed import celery_module, is_mixed
from .registry import TASKS
from .request import refuse_to_wait

if TYPE_CHECKING:
    from ...models import Job

Callback = Callable[[str, Any], Any] | None


class ResultBase:
    """What a result of one call and one of many have in common."""

    id: str
    parent: ResultBase | None = None
    TimeoutError = ResultTimeoutError

    @property
    def task_id(self) -> str:
        """The id."""
        return self.id

    def __str__(self) -> str:
        return str(self.id)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def as_list(self) -> list[str]:
        """The ids of it and of those before it in its chain."""
        return [self.id, *(self.parent.as_list() if self.parent else [])]

    def as_tuple(self) -> Any:
        """The id, with that of the one before it in its chain."""
        return (self.id, self.parent and self.parent.as_tuple()), None


class AsyncResult(ResultBase):
    """The result of a call by its id: its state and value are read when somebody asks."""

    def __new__(cls, id: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        """Celery's own result where it has the task."""
        if cls is AsyncResult and id is not None and is_mixed() and not _ledger().find_job(id):
            return celery_module("celery.result").AsyncResult(str(id))
        return super().__new__(cls)

    def __init__(
        self,
        id: Any,  # noqa: A002
        backend: Any = None,
        task_name: str | None = None,
        app: Any = None,
        parent: Any = None,
    ) -> None:
        if id is None:
            raise ValueError("AsyncResult requires valid id, not None.")
        self.id, self.parent, self.app, self.backend = str(id), parent, app, backend
        self._name = task_name
        self._final: Job | None = None

    __class_getitem__: Any = classmethod(GenericAlias)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        return other == self.id if isinstance(other, str) else NotImplemented

    __hash__ = ResultBase.__hash__

    def __reduce__(self) -> Any:
        return AsyncResult, (self.id, None, self._name, None, self.parent)

    @property
    def job(self) -> Job | None:
        """The row of the job, read now unless it was final before; None if there is none."""
        if self._final is None:
            row: Job | None = _ledger().find_job(self.id)
            if row is None or not row.is_final:
                return row
            self._final = row
        return self._final

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED, or what update_state() has set."""
        return str(_ledger().celery_state(self.job))

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception that it raised; while it runs, what
        update_state() has set.
        """
        return _ledger().value_of_job(self.job)

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of the last attempt that failed."""
        job = self.job
        text: str | None = None if job is None else _ledger().traceback_of(job)
        return text

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callback = None,
        on_message: Any = None,
        on_interval: Any = None,
        disable_sync_subtasks: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Wait for the task and return its result, or raise its exception.

        timeout: seconds; TimeoutError of Celery if it is not there then. propagate: False returns
        the exception. Raises RuntimeError where the job cannot even have begun.
        """
        if disable_sync_subtasks:
            refuse_to_wait()
        _ledger().wait_for(self, timeout, self.id)
        value = self._outcome(propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    def _outcome(self, propagate: bool) -> Any:
        job = self.job
        value = _ledger().value_of_job(job)
        if propagate and job is not None and not _ledger().is_success(job):
            # Of a chord the error of its header is raised.
            raise value.__cause__ if isinstance(value, ChordError) and value.__cause__ else value
        return value

    def maybe_throw(self, propagate: bool = True, callback: Callback = None) -> Any:
        """Raise the exception of the task, if it has failed; return the result otherwise."""
        value = self._outcome(propagate) if self.ready() else self.result
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def ready(self) -> bool:
        """Whether the task has ended."""
        job = self.job
        return job is not None and job.is_final

    def successful(self) -> bool:
        """Whether it has succeeded."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether it has failed."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Whether there is a job of this id."""
        return self.job is not None

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Cancel the job if it has not begun; terminate: also if it runs.

        It gets JobCancelled then, and is killed if it goes on. The others do nothing.
        """
        _ledger().revoke_job(self.id, terminate)

    def forget(self) -> None:
        """Nothing: results go with their jobs; see OPTIONS["keep_succeeded_days"]."""

    @property
    def children(self) -> list[Any]:
        """The results of the steps that wait for this one."""
        job = self.job
        followers = [] if job is None else _ledger().followers_of(job)
        return [AsyncResult(each, parent=self) for each in followers]

    @property
    def name(self) -> str | None:
        """The name of the task."""
        job = self.job
        if self._name is None and job is not None:
            task = TASKS.by_path(job.task)
            self._name = job.task if task is None else task.name
        return self._name

    task_name = name

    @property
    def args(self) -> Any:
        """The arguments of the call."""
        job = self.job
        return None if job is None else _ledger().call_values(job)[0]

    @property
    def kwargs(self) -> Any:
        """The keyword arguments of the call."""
        job = self.job
        return None if job is None else _ledger().call_values(job)[1]

    @property
    def queue(self) -> str | None:
        """The queue of the job."""
        job = self.job
        return None if job is None else job.queue

    @property
    def retries(self) -> int | None:
        """How often the task has been retried."""
        job = self.job
        return None if job is None else max(0, job.attempt - 1)

    @property
    def worker(self) -> str | None:
        """The id of the worker."""
        job = self.job
        return None if job is None or job.worker is None else str(job.worker)

    @property
    def date_done(self) -> datetime | None:
        """When the job has ended."""
        job = self.job
        return None if job is None else job.finished_at


class EagerResult(AsyncResult):
    """The result of a task that has run at once, where it was called."""

    def __init__(
        self,
        id: Any,  # noqa: A002
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._value, self._eager_state, self._traceback = ret_value, state, traceback

    def __reduce__(self) -> Any:
        return EagerResult, (
            self.id,
            self._value,
            self._eager_state,
            self._traceback,
            self._name,
        )

    @property
    def job(self) -> Job | None:
        """None: there is no row."""
        return None

    @property
    def state(self) -> str:
        """How it has ended."""
        return self._eager_state

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, or its exception."""
        return self._value

    info = result

    @property
    def traceback(self) -> str | None:
        """That of the exception."""
        return self._traceback

    def ready(self) -> bool:
        """True."""
        return True

    def get(  # type: ignore[override]
        self, timeout: float | None = None, propagate: bool = True, **kwargs: Any
    ) -> Any:
        """What the task returned; its exception is raised, or returned without propagate."""
        if self.state == states.SUCCESS or not propagate:
            return self._value
        if self.state in states.PROPAGATE_STATES:
            error = self._value
            raise error if isinstance(error, BaseException) else Exception(error)
        return None

    wait = get  # type: ignore[assignment]

    def maybe_throw(self, propagate: bool = True, callback: Callback = None) -> Any:
        """As get()."""
        return self.get(propagate=propagate)

    maybe_reraise = maybe_throw

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Note that it was revoked, as there: the task has run."""
        self._eager_state = states.REVOKED


def _ledger() -> Any:
    """What reads the ledger: it needs the models, which are not there while apps are imported."""
    from . import reading

    return reading
