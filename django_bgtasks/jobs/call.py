"""Call a task's function with its context, its arguments and its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import AsyncToSync, async_to_sync

from ..core.current import enter, entered
from ..core.errors import JobCancelled, JobTimeout
from ..sandbox import process_state
from ..sandbox.connections import SessionGuard
from ..sandbox.fork_guard import only_here
from ..sandbox.isolation import isolated, own_decimals
from ..sandbox.threads import check_threads_of
from ..sandbox.timeouts import deadline, on_cancellation
from .context import JobContext
from .hooks import AROUND, surrounded


def call(task: Any, context: JobContext, timeout: float) -> Any:
    """Run the task's function and return what it returns; whatever it raises is raised here.

    timeout: seconds after which JobTimeout is raised inside the function.
    """
    with SessionGuard():
        try:
            with only_here():
                return isolated(_surrounded, task, context, timeout)
        finally:
            process_state.restore()


def _surrounded(task: Any, context: JobContext, timeout: float) -> Any:
    # Nobody takes it back: its own context of variables ends with the call.
    enter(context)
    if AROUND:
        with surrounded(context):
            return _called(task, context, timeout)
    return _called(task, context, timeout)


def _called(task: Any, context: JobContext, timeout: float) -> Any:
    args, kwargs = _arguments(context), context.job.kwargs
    if iscoroutinefunction(task.func):
        coroutine = Coroutine(task.func)
        with on_cancellation(coroutine.cancel):
            return async_to_sync(_run_here)(coroutine, args, kwargs, timeout)
    with deadline(timeout):
        return task.func(*args, **kwargs)


async def _run_here(coroutine: Coroutine, *args: Any) -> Any:
    loop = asyncio.get_running_loop()
    # Only on a loop that async_to_sync() has made for it: another one is somebody else's.
    if loop in AsyncToSync.loop_thread_executors:
        check_threads_of(loop)
    return await coroutine.run(*args)


@contextmanager
def entered_coroutine(context: JobContext) -> Iterator[list[Any]]:
    """Within it, on an event loop, the context is the current job's; gives the task's arguments."""
    own_decimals()
    with entered(context), only_here():
        if AROUND:
            with surrounded(context):
                yield _arguments(context)
        else:
            yield _arguments(context)


def _arguments(context: JobContext) -> list[Any]:
    args = list(context.job.args)
    return [context, *args] if context.task.takes_context else args


class Coroutine:
    """An async task with its limits. It runs in another thread, where no exception reaches it."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func
        self._stop: Callable[[], object] | None = None
        self._asked = False

    def cancel(self) -> None:
        """Raise JobCancelled where the coroutine awaits; from any thread or signal handler.

        Once: what it awaits to clean up is let alone.
        """
        if self._asked:
            return
        self._asked = True
        # Read once: it may end meanwhile.
        stop = self._stop
        if stop is not None:
            stop()

    async def run(self, args: list[Any], kwargs: Any, seconds: float) -> Any:
        """Await the coroutine. Raises JobTimeout or JobCancelled at its limits."""
        running, loop = asyncio.current_task(), asyncio.get_running_loop()
        if running is not None:
            self._stop = partial(loop.call_soon_threadsafe, running.cancel)
        try:
            if self._asked:
                raise asyncio.CancelledError
            async with asyncio.timeout(seconds) as limit:
                with only_here():
                    return await self._func(*args, **kwargs)
        except TimeoutError:
            # The coroutine may raise a TimeoutError of its own.
            if not limit.expired():
                raise
            raise JobTimeout.of("timeout", seconds=f"{seconds:g}") from None
        except asyncio.CancelledError:
            if not self._asked:
                raise
            raise JobCancelled.of("cancelled") from None
        finally:
            self._stop = None
