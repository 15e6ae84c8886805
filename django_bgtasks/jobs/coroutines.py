"""The run of a coroutine beside others: begun and ended in threads, awaited on an event loop.

The database is asked in threads: on the loop nothing may block.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from functools import partial
from typing import Any

from ..core import clock
from ..core.errors import ClaimLost
from ..models import Job
from ..sandbox.call import LimitedCoroutine, own_decimals
from .execute import Run, acall, begin_run, conclude
from .waiting import await_start

logger = logging.getLogger("django_bgtasks")


class CoroutineRunner:
    """One attempt of a coroutine."""

    def __init__(self, job: Job, using: str) -> None:
        self.job, self._run = job, Run(job, using)
        self._start = clock.monotonic()
        self._claim_lost = False
        self._coroutine: LimitedCoroutine | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def begin(self) -> Awaitable[None] | None:
        """Begin the attempt. Returns what is to be awaited before end(), if it goes on."""
        await_start(self.job)
        try:
            if not begin_run(self._run):
                return None
        except ClaimLost as lost:
            logger.warning("%s", lost)
            self._claim_lost = True
            return None
        self._coroutine = LimitedCoroutine(partial(acall, self._run), self.job.timeout)
        return self._run_coroutine(self._coroutine)

    async def _run_coroutine(self, coroutine: LimitedCoroutine) -> None:
        own_decimals()
        try:
            self._value = await coroutine.run()
        except BaseException as error:
            # A loop would end with some of these, and with it all its other jobs.
            self._error = error
        self._run.seconds = clock.monotonic() - self._start

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
        try:
            if self._coroutine is not None:
                conclude(self._run, self._returned, grouped=True)
        except ClaimLost as lost:
            logger.warning("%s", lost)
            self._claim_lost = True
        return None if self._claim_lost else self._run

    def _returned(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value
