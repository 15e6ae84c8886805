"""Call a task's function with its context, its arguments and its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import async_to_sync

from ..core.errors import JobTimeout
from .connections import no_transaction_left_open
from .context import JobContext
from .current import entered
from .deadline import deadline


def call(task: Any, context: JobContext, timeout: float) -> Any:
    """Run the task's function and return what it returns; whatever it raises is raised here.

    timeout: seconds after which JobTimeout is raised inside the function.
    """
    job = context.job
    args = [context, *job.args] if task.takes_context else list(job.args)
    with entered(context), no_transaction_left_open():
        if iscoroutinefunction(task.func):
            return async_to_sync(_limited)(task.func, args, job.kwargs, timeout)
        with deadline(timeout):
            return task.func(*args, **job.kwargs)


async def _limited(func: Callable[..., Any], args: list[Any], kwargs: Any, seconds: float) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await func(*args, **kwargs)
    except TimeoutError:
        # The coroutine may raise a TimeoutError of its own.
        if not limit.expired():
            raise
        raise JobTimeout(f"The attempt took longer than its timeout of {seconds:g} s.") from None
