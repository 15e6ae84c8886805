"""The results of tasks, as Huey's code reads them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from ...core import clock
from ...core.errors import InvalidArguments
from ...core.states import FINAL, State
from ...jobs.task import find_task
from .exceptions import ResultTimeout, TaskException, WaitRefused
from .performing import changes_of

FIRST_LOOK = 0.05
# What a step has as the code of its error that was skipped, as the one before it has failed.
_NOT_REACHED = "gate_failed"


def is_wait_in_transaction() -> bool:
    """Whether nobody can wait for a job here: it is not committed, or its end is not seen."""
    from ...ledger.connection import is_in_transaction
    from ...ledger.lifecycle import ledger_database

    return is_in_transaction(ledger_database())


class HueyResult:
    """The result of one call; calling it is get().

    job_id: of its job's row.
    """

    def __init__(self, job_id: UUID | str) -> None:
        self.id = str(job_id)
        self._row: Any = None

    def __repr__(self) -> str:
        return f"<HueyResult: job {self.id}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.get(*args, **kwargs)

    def get(
        self,
        blocking: bool = False,
        timeout: float | None = None,
        backoff: float = 1.15,
        max_delay: float = 1.0,
        revoke_on_timeout: bool = False,
        preserve: bool = False,
    ) -> Any:
        """What the task returned; None if it has not ended. It can be read again and again.

        blocking: wait for the end, at most `timeout` seconds. Raises ResultTimeout,
        TaskException if the job has failed for good, and at once WaitRefused within a transaction,
        in which it cannot end.
        """
        pause, end = FIRST_LOOK, None if timeout is None else clock.monotonic() + timeout
        while blocking and not self.is_ready():
            left = max_delay if end is None else end - clock.monotonic()
            is_over = left <= 0 or self._is_hopeless(end)
            if is_over or is_wait_in_transaction():
                if revoke_on_timeout:
                    self.revoke()
                raise ResultTimeout("timed out waiting for result") if is_over else WaitRefused()
            time.sleep(min(pause, left))
            pause = min(pause * backoff, max_delay)
        return self._value()

    def is_ready(self) -> bool:
        """Whether there is a result, or an error."""
        row = self._read()
        return row is not None and _has_ended_of_itself(row)

    def revoke(self, revoke_once: bool = True) -> None:
        """Cancel the job, if it has not ended."""
        from ...jobs.actions import cancel_job

        row = self._read()
        if row is not None and row.state not in FINAL:
            cancel_job(self.id)

    def is_revoked(self) -> bool:
        """Whether it was cancelled, or its worker is to stop it."""
        row = self._read()
        if row is None:
            return False
        return row.state == State.CANCELLED or row.cancel_requested_at is not None

    def reschedule(
        self,
        eta: datetime | None = None,
        delay: float | timedelta | None = None,
        expires: Any = None,
        priority: int | None = None,
        preserve_pipeline: bool = True,
    ) -> HueyResult:
        """Cancel the job, and enqueue its call anew: for a time, in so many seconds, or for now.

        Raises InvalidArguments for one that is not there, or that others of a pipeline wait for.
        """
        row = self._read()
        if row is None:
            raise InvalidArguments(f"There is no job {self.id}. See docs/moving.md.")
        if row.has_followers and preserve_pipeline:
            raise InvalidArguments(
                "reschedule() of a job in a pipeline would cancel those behind it: enqueue the "
                "pipeline anew. See docs/moving.md."
            )
        options = {"eta": eta, "delay": delay, "expires": expires, "priority": priority}
        changes = changes_of({name: value for name, value in options.items() if value is not None})
        self.revoke()
        task, call = find_task(row.task), HueyWaiting(row)
        return HueyResult(task.using(**changes).enqueue(*call.args, **call.kwargs).job.pk)

    def reset(self) -> None:
        """Forget what was read."""
        self._row = None

    def _read(self) -> Any:
        """The row; None if there is none, as of a text that is no job's id."""
        from ...ledger.lifecycle import ledger_database
        from ...models import Job

        if self._row is None or self._row.state not in FINAL:
            pk = _uuid_in(self.id)
            rows = Job.objects.using(ledger_database())
            self._row = None if pk is None else rows.filter(pk=pk).first()
        return self._row

    def _is_hopeless(self, end: float | None) -> bool:
        """Whether no result will come: a row that is not there yet may be before the end."""
        row = self._read()
        return end is None if row is None else row.state == State.CANCELLED

    def _value(self) -> Any:
        from ...jobs.typed import value_of

        row = self._read()
        if row is None:
            return None
        if row.state == State.SUCCEEDED:
            return value_of(row.result) if row.types else row.result
        if _has_ended_of_itself(row):
            raise TaskException(self._metadata(row))
        return None

    def _metadata(self, row: Any) -> dict[str, Any]:
        from ...models import Attempt

        last = Attempt.objects.using(row._state.db).filter(job=row.pk).order_by("-attempt").first()
        trace = "" if last is None else last.traceback
        return {"error": row.error, "retries": 0, "traceback": trace, "task_id": self.id}


def _uuid_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _has_ended_of_itself(row: Any) -> bool:
    """Whether the job has a result or an error; a step behind one that has failed has, too."""
    return row.state in {State.SUCCEEDED, State.FAILED} or row.error_code == _NOT_REACHED


class HueyWaiting(HueyResult):
    """A job that waits: its result, and its call.

    name: of the task. args, kwargs: of the call. eta: when it is to run; None for now.
    """

    def __init__(self, row: Any) -> None:
        from ...jobs.typed import value_of

        super().__init__(row.pk)
        args, kwargs = value_of([row.args, row.kwargs]) if row.types else (row.args, row.kwargs)
        path = row.task
        if path.startswith(__package__):
            # The step of a pipeline.
            path, args, kwargs = args[0], args[1], args[2]
        self.name = path.rpartition(".")[2]
        self.args, self.kwargs, self.eta = tuple(args), dict(kwargs), row.run_after


class HueyResultGroup:
    """The results of several calls, in their order."""

    def __init__(self, results: Sequence[HueyResult]) -> None:
        self._results = list(results)

    def get(self, *args: Any, **kwargs: Any) -> list[Any]:
        """HueyResult.get() of each."""
        return [result.get(*args, **kwargs) for result in self._results]

    __call__ = get

    def __getitem__(self, index: int) -> Any:
        return self._results[index].get(True)

    def __iter__(self) -> Iterator[HueyResult]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def as_completed(self, backoff: float = 1.15, max_delay: float = 1.0) -> Iterator[Any]:
        """The values, as the jobs end."""
        rest, pause = list(self._results), FIRST_LOOK
        while rest:
            for result in [result for result in rest if result.is_ready()]:
                rest.remove(result)
                yield result.get()
            if rest and is_wait_in_transaction():
                raise WaitRefused()
            if rest:
                time.sleep(pause)
                pause = min(pause * backoff, max_delay)


class HueyChordResult:
    """The result of a chord: that of its callback. results: those of its members."""

    def __init__(self, results: Sequence[HueyResult], callback: HueyResult) -> None:
        self.results, self.callback = HueyResultGroup(results), callback

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """HueyResult.get() of the callback."""
        return self.callback.get(*args, **kwargs)

    __call__ = get
