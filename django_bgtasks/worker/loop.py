"""The event loop of a job child, in a thread of its own, on which coroutines wait side by side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from asgiref.sync import sync_to_async

from ..core import clock
from ..flow.awaited import Awaited
from ..flow.connections import refresh_connections

# Seconds. The coroutines of a process share a thread for the ORM, and its connections.
REFRESH_EVERY = 1.0
# A loop that does not answer for so long is blocked by the coroutine that has it.
BLOCKED_AFTER = 1.0
Ended = Callable[[Awaited], None]


class Loop:
    """Coroutines, each with limits of its own. The thread starts with the first one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refresh_at = 0.0
        self._asked_at: float | None = None
        self._tasks: dict[asyncio.Task[None], Awaited] = {}

    def start(self, run: Awaited, ended: Ended) -> None:
        """Begin a run. `ended` is called when it has run, on the loop or at once."""
        awaitable = run.begin()
        if awaitable is None:
            ended(run)
        else:
            asyncio.run_coroutine_threadsafe(self._main(run, awaitable, ended), self._running())

    def culprit(self) -> Awaited | None:
        """The run that blocks the loop, if one does. To be asked again and again."""
        now = clock.monotonic()
        if self._loop is None or self._asked_at is None:
            self._ask(now)
            return None
        if now - self._asked_at < BLOCKED_AFTER:
            return None
        task = asyncio.current_task(self._loop)
        return None if task is None else self._tasks.get(task)

    def _ask(self, now: float) -> None:
        """Have the loop say that it is alive, as soon as it can."""
        if self._loop is not None:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._asked_at = None

    async def _main(self, run: Awaited, awaitable: Awaitable[None], ended: Ended) -> None:
        task = asyncio.current_task()
        assert task is not None, "It runs as a task."  # noqa: S101
        self._tasks[task] = run
        try:
            if clock.monotonic() >= self._refresh_at:
                self._refresh_at = clock.monotonic() + REFRESH_EVERY
                await sync_to_async(refresh_connections)()
            await awaitable
        finally:
            del self._tasks[task]
            if run.failed:
                # It may have been the connection.
                self._refresh_at = 0.0
            ended(run)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        return self._loop
