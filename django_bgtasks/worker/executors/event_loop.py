"""The event loop of a job process, in a thread of its own, on which coroutines wait side by side.

The coroutines share the loop. What one of them does to it must not end the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from functools import partial
from typing import Any, NoReturn

from asgiref.sync import AsyncToSync

from ...core import clock
from ...jobs.coroutines import CoroutineRunner
from ...models import Job
from ...sandbox.restore import LEFT_OPEN
from ...sandbox.threads import check_threads_of
from ..config import WorkerConfig
from . import Executor
from .active_runs import ActiveRun, ActiveRuns
from .database_threads import DatabaseThreads, room_for

# A loop that does not answer for so long is blocked by the coroutine that has it.
BLOCKED_AFTER = 1.0
# What would end other coroutines too. A loop that runs refuses close() itself.
REFUSED = ("stop", "shutdown_asyncgens", "shutdown_default_executor")
logger = logging.getLogger("django_bgtasks.worker")
# Whose each task on the loop is; a coroutine may begin more of them.
_runner: ContextVar[CoroutineRunner | None] = ContextVar("bgtasks_runner", default=None)


class EventLoopExecutor(Executor):
    """Runs coroutines, at most `config.async_concurrency`; its thread starts with the first one."""

    def __init__(self, config: WorkerConfig, runs: ActiveRuns) -> None:
        self._most, self._using, self._runs = config.async_concurrency, config.using, runs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_at: float | None = None
        # The loop itself would forget a task that waits.
        self._active: dict[CoroutineRunner, RunTask] = {}
        connections = room_for(config.async_connections, config.threads)
        self._threads = DatabaseThreads(connections, self._current_runner)

    def capacity(self, rq_queue: str = "") -> int:
        return self._most - self._runs.count(self)

    def submit(self, jobs: list[Job]) -> list[Job]:
        room = self.capacity()
        for job in jobs[:room]:
            runner = CoroutineRunner(job, self._using)
            run = self._runs.begin(self, runner)
            awaitable = runner.begin()
            if awaitable is None:
                self._runs.complete(run)
            else:
                loop, main = self._running_loop(), self._main(runner, awaitable, run)
                loop.call_soon_threadsafe(self._begin, loop, runner, main)
        return jobs[room:]

    def blocking_runner(self) -> CoroutineRunner | None:
        """The run that blocks the loop, if one does. To be asked again and again."""
        now = clock.monotonic()
        if self._loop is None:
            return None
        if self._asked_at is None:
            # It is to say that it is alive, as soon as it can.
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answer)
            return None
        if now - self._asked_at < BLOCKED_AFTER:
            return None
        return getattr(asyncio.current_task(self._loop), "runner", None)

    def _answer(self) -> None:
        self._asked_at = None
        self._restore()

    def _begin(self, loop: asyncio.AbstractEventLoop, runner: CoroutineRunner, main: Any) -> None:
        # Not by loop.create_task(): a coroutine may have set another task factory.
        self._active[runner] = RunTask(loop, main, runner)

    async def _main(
        self, runner: CoroutineRunner, awaitable: Awaitable[None], run: ActiveRun
    ) -> None:
        _runner.set(runner)
        try:
            await Stepwise(awaitable, self._restore)
            await self._release(runner)
        except BaseException as error:
            runner.fail(error)
        finally:
            self._runs.complete(run)

    async def _release(self, runner: CoroutineRunner) -> None:
        """Let others have the database thread of this run, which must leave no transaction open."""
        del self._active[runner]
        left_open = self._threads.release(runner, runner.error)
        # An attempt that has failed is settled at once; its last query may take long.
        if left_open is None or runner.error is not None:
            return
        if await asyncio.wrap_future(left_open):
            raise RuntimeError(LEFT_OPEN)

    def _current_runner(self) -> CoroutineRunner | None:
        """Whose the current call is. What a run leaves behind on the loop is nobody's."""
        runner = _runner.get() or getattr(asyncio.current_task(), "runner", None)
        return runner if runner in self._active else None

    def _restore(self) -> None:
        """Put back what the others need of the loop."""
        asyncio._set_running_loop(self._loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            loop.set_task_factory(RunTask)
            check_threads_of(loop)
            for name in REFUSED:
                setattr(loop, name, partial(_refuse, name))
            AsyncToSync.loop_thread_executors[loop] = self._threads  # type: ignore[assignment]
            threading.Thread(target=self._serve, args=(loop,), name="loop", daemon=True).start()
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop again whenever something has stopped it; end with it if that cannot be."""
        while not loop.is_closed():
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # asyncio passes these on, from a task that the coroutine began itself.
                logger.warning("A coroutine raised %r on the event loop, which goes on.", error)
            except BaseException:
                logger.exception("The event loop of the coroutines cannot go on.")
                break
        # As where the main thread fails: the supervisor sees to what this process held.
        logger.error("The event loop of the coroutines has ended, and this process ends with it.")
        os._exit(1)


class RunTask(asyncio.Task[Any]):
    """A task on the loop, with the run that it belongs to. Other runs cannot cancel it.

    It is made as a task factory makes one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,
        runner: CoroutineRunner | None = None,
        **options: Any,
    ) -> None:
        self.runner = runner or _runner.get()
        super().__init__(coroutine, loop=loop, **options)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, unless the call comes from another run; such a call is ignored."""
        caller = _runner.get()
        is_of_another_run = None not in (caller, self.runner) and caller is not self.runner
        return not is_of_another_run and super().cancel(msg)


class Stepwise:
    """Awaits a coroutine; `around` is called before and after each of its steps."""

    def __init__(self, coroutine: Any, around: Callable[[], None]) -> None:
        self._coroutine, self._around = coroutine, around

    def __await__(self) -> Generator[Any, Any, None]:
        return self  # type: ignore[return-value]

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """One step."""
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        """One step that begins with an exception."""
        return self._step(self._coroutine.throw, *error)

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        self._around()
        try:
            return step(*args)
        finally:
            self._around()


def _refuse(name: str) -> NoReturn:
    raise RuntimeError(
        f"A task must not call {name}() of the event loop that it shares with others."
    )
