"""A job as RQ's code sees it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from pkgutil import resolve_name
from typing import Any, Self
from uuid import UUID, uuid5

from django.utils import timezone

from ...core.errors import InvalidArguments, InvalidMove
from ...core.payload import json_value, to_json
from ...core.states import FINAL, State
from ...core.values import COPIED_BY, TYPED
from ...jobs.actions import cancel_job, delete_jobs, retry_job
from ...jobs.context import current_job
from ...jobs.task import known_task
from ...jobs.typed import value_of
from ...ledger.lifecycle import ledger_database
from ...ledger.times import Now
from ...models import Attempt, Blob, Job
from ...transport.rq_names import InvalidJobOperation, JobStatus, NoSuchJobError
from .calls import FUNCTION_TASK

_STATUS = {
    State.BLOCKED: JobStatus.DEFERRED,
    State.SCHEDULED: JobStatus.SCHEDULED,
    State.QUEUED: JobStatus.QUEUED,
    State.RUNNING: JobStatus.STARTED,
    State.SUCCEEDED: JobStatus.FINISHED,
    State.FAILED: JobStatus.FAILED,
    State.CANCELLED: JobStatus.CANCELED,
}
_current: ContextVar[RqJob | None] = ContextVar("bgtasks_rq_job", default=None)


class RqJob:
    """One job: what RQ's Job tells and can do. row: its row in the database, as it was last read.

    `id` is the one that the call has given it, if it has. meta: a dict, which save_meta() keeps as
    long as the job's row.
    """

    def __init__(self, row: Job) -> None:
        self.row = row
        self._meta: dict[str, Any] | None = None

    @classmethod
    def find(cls, job_id: str) -> Self | None:
        """The job with this id, or the latest that was enqueued with it; None for none."""
        rows, found = Job.objects.using(ledger_database()), None
        with suppress(ValueError):
            found = rows.filter(pk=UUID(str(job_id))).first()
        if found is None:
            found = rows.filter(dedup_key=str(job_id)).order_by("-id").first()
        return None if found is None else cls(found)

    @classmethod
    def fetch(cls, id: str, connection: Any = None, serializer: Any = None) -> Self:  # noqa: A002
        """The job with this id. Raises RQ's NoSuchJobError if there is none."""
        if (found := cls.find(id)) is None:
            raise NoSuchJobError(f"No such job: {id}")
        return found

    @classmethod
    def fetch_many(
        cls, job_ids: Iterable[str], connection: Any = None, serializer: Any = None
    ) -> list[Self | None]:
        """The jobs with these ids; None in the place of one that is not there."""
        return [cls.find(job_id) for job_id in job_ids]

    @classmethod
    def exists(cls, job_id: str, connection: Any = None) -> bool:
        """Whether there is a job with this id."""
        return cls.find(job_id) is not None

    @classmethod
    def create(cls, *_args: Any, **_options: Any) -> Self:
        """Raise InvalidArguments: a job is made where it is enqueued."""
        raise InvalidArguments(
            "Job.create() makes a job that is not enqueued. Call queue.enqueue_call(func, args, "
            "kwargs, ...) where it is to be. See docs/moving.md."
        )

    def __repr__(self) -> str:
        return f"<RqJob {self.id}: {self.func_name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RqJob) and other.row.pk == self.row.pk

    def __hash__(self) -> int:
        return hash(self.row.pk)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"A job of django_bgtasks.contrib.rq has no {name!r}. See docs/moving.md."
        )

    @property
    def id(self) -> str:
        """The id that the call has given it, or that of its row."""
        return self.row.dedup_key or str(self.row.pk)

    def get_id(self) -> str:
        """See id."""
        return self.id

    @property
    def key_of_row(self) -> str:
        """The id of its row, which no other job ever has."""
        return str(self.row.pk)

    def refresh(self) -> None:
        """Read it anew. Raises RQ's NoSuchJobError if it was deleted."""
        row = Job.objects.using(ledger_database()).filter(pk=self.row.pk).first()
        if row is None:
            raise NoSuchJobError(f"No such job: {self.id}")
        self.row, self._meta = row, None

    def get_status(self, refresh: bool = True) -> JobStatus:
        """RQ's word for its state, such as "finished"."""
        if refresh:
            self.refresh()
        return _STATUS[State(self.row.state)]

    is_finished = property(lambda self: self.get_status() is JobStatus.FINISHED)
    is_queued = property(lambda self: self.get_status() is JobStatus.QUEUED)
    is_failed = property(lambda self: self.get_status() is JobStatus.FAILED)
    is_started = property(lambda self: self.get_status() is JobStatus.STARTED)
    is_deferred = property(lambda self: self.get_status() is JobStatus.DEFERRED)
    is_canceled = property(lambda self: self.get_status() is JobStatus.CANCELED)
    is_scheduled = property(lambda self: self.get_status() is JobStatus.SCHEDULED)
    is_stopped = property(lambda _self: False)

    @property
    def is_final(self) -> bool:
        """Whether it will not run again by itself."""
        return self.row.state in FINAL

    def return_value(self, refresh: bool = False) -> Any:
        """What the function returned; None unless the job has succeeded."""
        if refresh:
            self.refresh()
        if self.row.state != State.SUCCEEDED:
            return None
        return value_of(self.row.result) if self.row.types else self.row.result

    @property
    def result(self) -> Any:
        """return_value(), read anew."""
        return self.return_value(refresh=True)

    @property
    def exc_info(self) -> str | None:
        """The traceback of its last failed attempt."""
        if self.row.state == State.SUCCEEDED:
            return None
        attempts = Attempt.objects.using(ledger_database()).filter(job=self.row.pk)
        last = attempts.order_by("-attempt").first()
        return None if last is None else last.traceback or self.row.error

    @property
    def func_name(self) -> str:
        """The dotted path of the function."""
        return str(self._call[0])

    @property
    def func(self) -> Any:
        """The function itself. Raises ImportError or AttributeError where there is none."""
        return resolve_name(self.func_name)

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of the call."""
        return tuple(self._call[1])

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the call."""
        return dict(self._call[2])

    @property
    def description(self) -> str:
        """What people read of it."""
        return self.row.label or self.func_name

    @property
    def _call(self) -> tuple[str, list[Any], dict[str, Any]]:
        args, kwargs = self.row.args, self.row.kwargs
        if self.row.types:
            args, kwargs = value_of([args, kwargs])
        if self.row.task == FUNCTION_TASK:
            return args[0], args[2], args[3]
        return self.row.task, args, kwargs

    origin = property(lambda self: self.row.queue)
    timeout = property(lambda self: self.row.timeout)
    created_at = property(lambda self: self.row.enqueued_at)
    enqueued_at = property(lambda self: self.row.enqueued_at)
    started_at = property(lambda self: self.row.started_at)
    ended_at = property(lambda self: self.row.finished_at)
    retries_left = property(lambda self: max(self.row.max_attempts - self.row.attempt, 0))
    number_of_retries = property(lambda self: max(self.row.attempt - 1, 0))

    @property
    def worker_name(self) -> str | None:
        """The id of the worker that runs it, or has run it last."""
        return None if self.row.worker is None else str(self.row.worker)

    @property
    def age(self) -> float:
        """How long ago it was enqueued, in seconds."""
        now = timezone.now()
        enqueued: datetime = self.row.enqueued_at
        return (now - enqueued) / timedelta(seconds=1)

    @property
    def meta(self) -> dict[str, Any]:
        """What the call and the task have put there; changes count after save_meta()."""
        if self._meta is None:
            self._meta = self._read_meta()
        return self._meta

    @meta.setter
    def meta(self, value: dict[str, Any]) -> None:
        self._meta = value

    def get_meta(self, refresh: bool = True) -> dict[str, Any]:
        """See meta."""
        if refresh:
            self._meta = None
        return self.meta

    def save_meta(self) -> None:
        """Keep meta for others to read: at once, or with the transaction in which this is called.

        Raises InvalidArguments for what cannot be stored.
        """
        copied_by = COPIED_BY[TYPED]
        value = json_value(self.meta, "meta", self.func_name, InvalidArguments, copied_by)
        values = {"job": self.row.pk, "data": to_json(value).encode(), "created_at": Now()}
        blobs = Blob.objects.using(ledger_database())
        blobs.update_or_create(pk=self._meta_id, defaults=values)

    def save(self, **_: Any) -> None:
        """Keep meta; all else is in the database already."""
        self.save_meta()

    def cancel(self, pipeline: Any = None, enqueue_dependents: bool = False) -> None:
        """Cancel it; one that runs is stopped, and one that has succeeded or failed stays so.

        Raises RQ's InvalidJobOperation if it is cancelled already.
        """
        try:
            cancel_job(self.row.pk)
        except InvalidMove as error:
            if self.is_canceled:
                raise InvalidJobOperation(str(error)) from error
        self.refresh()

    def requeue(self, at_front: bool = False) -> Self:
        """Queue it again. Raises RQ's InvalidJobOperation if it has not failed."""
        try:
            retry_job(self.row.pk)
        except InvalidMove as error:
            raise InvalidJobOperation(str(error)) from error
        self.refresh()
        return self

    def delete(self, **_: Any) -> None:
        """Delete it; one that runs is stopped in place of that."""
        self.refresh()
        if self.row.state == State.RUNNING:
            cancel_job(self.row.pk)
        else:
            delete_jobs({self.row.pk: self.row.state})

    def _read_meta(self) -> dict[str, Any]:
        blob = Blob.objects.using(ledger_database()).filter(pk=self._meta_id).first()
        if blob is not None:
            return dict(value_of(json.loads(bytes(blob.data))))
        if self.row.task == FUNCTION_TASK:
            extras: Any = value_of(self.row.args[4]) if len(self.row.args) > 4 else {}
        else:
            extras = getattr(getattr(known_task(self.row.task), "func", None), "rq_extras", {})
        return dict(extras.get("meta", {}))

    @property
    def _meta_id(self) -> UUID:
        return uuid5(self.row.pk, "rq-meta")


def get_current_job(connection: Any = None, job_class: Any = None) -> RqJob | None:
    """The job that runs here; None outside of one."""
    context = current_job()
    if context is None:
        return None
    # The same object each time: what a task puts into its meta stays there until save_meta().
    found = _current.get()
    if found is None or found.row is not context.job:
        found = RqJob(context.job)
        _current.set(found)
    return found


def cancel_rq_job(job_id: str, connection: Any = None, **_: Any) -> None:
    """RqJob.cancel(), by its id."""
    RqJob.fetch(job_id).cancel()


def requeue_rq_job(job_id: str, connection: Any = None, **_: Any) -> RqJob:
    """RqJob.requeue(), by its id."""
    return RqJob.fetch(job_id).requeue()


def send_stop_job_command(connection: Any, job_id: str, serializer: Any = None) -> None:
    """RqJob.cancel(), by its id, as RQ's code calls it for a job that runs."""
    RqJob.fetch(job_id).cancel()
