"""The run of a coroutine beside others: begun and ended in threads, awaited on an event loop.

The database is asked in threads: on the loop nothing may block.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from ..core import clock
from ..core.errors import ClaimLost
from ..core.outcomes import Outcome
from ..models import Job
from .call import Coroutine, entered_coroutine
from .context import JobContext
from .execute import Run, concluded, may_stay_open, opened

logger = logging.getLogger("django_bgtasks")


class Awaited:
    """One attempt of a coroutine."""

    def __init__(self, job: Job, using: str) -> None:
        self.job, self._using = job, using
        self._start = clock.monotonic()
        self._opened: JobContext | Outcome | None = None
        self._coroutine: Coroutine | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._seconds = 0.0

    def begin(self) -> Awaitable[None] | None:
        """Find the task and tell its receivers. Returns what is to be awaited before end()."""
        try:
            self._opened = opened(self.job, self._using)
        except ClaimLost as lost:
            logger.warning("%s", lost)
        if not isinstance(self._opened, JobContext):
            return None
        self._coroutine = Coroutine(self._opened.task.func)
        return self._awaited(self._opened, self._coroutine)

    async def _awaited(self, context: JobContext, coroutine: Coroutine) -> None:
        try:
            with entered_coroutine(context) as args:
                self._value = await coroutine.run(args, self.job.kwargs, self.job.timeout)
        except BaseException as error:
            # A loop would end with some of these, and with it all its other jobs.
            self._error = error
        self._seconds = clock.monotonic() - self._start

    def cancel(self) -> None:
        """Raise JobCancelled where the task awaits."""
        if self._coroutine is not None:
            self._coroutine.cancel()

    @property
    def error(self) -> BaseException | None:
        """What the task raised, or what failed after it."""
        return self._error

    def fail(self, error: BaseException) -> None:
        """Let the attempt fail though the task has returned. What the task raised counts first."""
        self._error = self._error or error

    def end(self) -> Run | None:
        """Settle the attempt, or leave its success open. None if the claim was lost."""
        found = self._opened
        if found is None:
            return None
        if isinstance(found, Outcome):
            return Run(self.job, found, self._seconds)
        try:
            settlement, is_open = concluded(found, self._outcome, may_stay_open(self.job))
        except ClaimLost as lost:
            logger.warning("%s", lost)
            return None
        return Run(self.job, settlement, self._seconds, is_open)

    def _outcome(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value
