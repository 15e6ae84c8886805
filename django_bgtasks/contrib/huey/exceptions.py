"""The exceptions that tasks written for Huey raise and catch."""

from __future__ import annotations

from datetime import datetime
from typing import Any


class HueyException(Exception):
    """Base of those that Huey itself raised."""


class TaskLockedException(HueyException):
    """Another one has the lock. What waits for a limit has not begun, and raises none."""


class ResultTimeout(HueyException):
    """The job had not ended when the time to wait for it was up."""


class WaitRefused(ResultTimeout, RuntimeError):
    """Somebody would wait for a job within a transaction, in which its end never comes."""

    def __init__(self) -> None:
        super().__init__(
            "Huey's result cannot come before this transaction ends: its job is not committed yet, "
            "or its end is not seen here. Wait outside of it, or set immediate of HUEY in tests. "
            "See docs/moving.md."
        )


class CancelExecution(Exception):
    """Raised by a task: end now. retry: True runs it once more, False never, None as it has
    retries.
    """

    def __init__(self, msg: str | None = None, retry: bool | None = None) -> None:
        self.retry = retry
        super().__init__(*(() if msg is None else (msg,)))


class RetryTask(Exception):
    """Raised by a task: run it again, at `eta` or after `delay` seconds."""

    def __init__(
        self, msg: str | None = None, eta: datetime | None = None, delay: float | None = None
    ) -> None:
        self.eta, self.delay = eta, delay
        super().__init__(msg)


class TaskException(Exception):
    """What a result raises when its job has failed.

    metadata: error, retries, traceback and task_id.
    """

    def __init__(self, metadata: dict[str, Any] | None = None, *args: Any) -> None:
        self.metadata = metadata or {}
        super().__init__(*args)

    def __str__(self) -> str:
        return str(self.metadata.get("error") or "unknown error")
