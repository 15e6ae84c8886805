"""The event loop of a job child, in a thread of its own, on which coroutines wait side by side."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from ..core import clock
from ..flow.awaited import Awaited
from ..flow.connections import give_back_connections, refresh_connections

# Seconds. The coroutines of a process share a thread for the ORM, and its connections.
REFRESH_EVERY = 1.0
# A loop that does not answer for so long is blocked by the coroutine that has it.
BLOCKED_AFTER = 1.0
Ended = Callable[[], None]
logger = logging.getLogger("django_bgtasks.worker")
# Whose run each task on the loop belongs to; a coroutine may begin more of them.
_run: ContextVar[Awaited | None] = ContextVar("bgtasks_run", default=None)


class Loop:
    """Coroutines, each with limits of its own. The thread starts with the first one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refresh_at = 0.0
        self._asked_at: float | None = None
        self._runs: WeakKeyDictionary[asyncio.Task[Any], Awaited] = WeakKeyDictionary()
        self._active = 0
        # The loop itself would forget it.
        self._upkeep: asyncio.Task[None] | None = None

    def start(self, run: Awaited, ended: Ended) -> None:
        """Begin a run. `ended` is called when it has run, on the loop or at once."""
        awaitable = run.begin()
        if awaitable is None:
            ended()
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
        return None if task is None else self._runs.get(task)

    def _ask(self, now: float) -> None:
        """Have the loop say that it is alive, as soon as it can."""
        if self._loop is not None:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._asked_at = None

    async def _main(self, run: Awaited, awaitable: Awaitable[None], ended: Ended) -> None:
        self._active += 1
        await self._refresh()
        _run.set(run)
        self._own(asyncio.current_task())
        await awaitable
        _run.set(None)
        self._active -= 1
        if run.failed:
            # It may have been the connection.
            self._refresh_at = 0.0
        if not self._active:
            self._upkeep = asyncio.create_task(self._give_back())
        ended()

    async def _refresh(self) -> None:
        """Have the connections looked at, before any query from here on.

        The thread for the ORM does one thing after another. Nobody waits for it here: it may be
        busy, and not everybody needs it.
        """
        if clock.monotonic() >= self._refresh_at:
            self._refresh_at = clock.monotonic() + REFRESH_EVERY
            self._upkeep = asyncio.create_task(_in_orm_thread(refresh_connections))
            # It gets into the line.
            await asyncio.sleep(0)

    async def _give_back(self) -> None:
        """Not while a coroutine may be in the middle of reading the rows of a query."""
        if not self._active:
            await _in_orm_thread(give_back_connections)

    def _own(self, task: asyncio.Task[Any] | None) -> None:
        run = _run.get()
        if run is not None and task is not None:
            self._runs[task] = run

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._own(task)
        return task

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_task_factory(self._new_task)
            threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        return self._loop


async def _in_orm_thread(act: Callable[[], None]) -> None:
    try:
        await sync_to_async(act)()
    except Exception as error:
        logger.warning("The database connections could not be looked after: %s", error)
