"""What coroutines do in threads that they share: a call leaves no transaction to the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import reset_queries

from .call import only_here
from .connections import give_back_connections
from .restore import SessionGuard, refresh_connections

T = TypeVar("T")
logger = logging.getLogger("django_bgtasks")


# Whether the current call needs a database thread for itself only, and not until its job ends.
is_in_passing: ContextVar[bool] = ContextVar("bgtasks_in_passing", default=False)


async def in_passing(act: Callable[..., T], *args: Any) -> T:
    """Call this in the job's database thread, if it has one, or in any that is free."""
    token = is_in_passing.set(True)
    try:
        return await sync_to_async(act)(*args)
    finally:
        is_in_passing.reset(token)


def check_threads_of(loop: asyncio.AbstractEventLoop) -> None:
    """Check each call in the loop's own threads: of `to_thread`, say, or `thread_sensitive=False`.

    It raises RuntimeError where it leaves a transaction open.
    """
    run_in_executor: Any = loop.run_in_executor

    def run(executor: Executor | None, act: Callable[..., Any], *args: Any) -> Any:
        call = partial(act, *args)
        return run_in_executor(executor, partial(checked, call) if executor is None else call)

    setattr(loop, "run_in_executor", run)  # noqa: B010 - it is a method


def checked(act: Callable[[], Any]) -> Any:
    """Call this with connections that work, and see to it that no transaction is left open."""
    refresh()
    try:
        with SessionGuard(), only_here():
            return act()
    finally:
        give_back_connections()


def refresh() -> None:
    """Look after the connections of this thread. One that stays broken shows when it is used."""
    if settings.DEBUG:
        # Django keeps them all, and forgets them with each request only.
        reset_queries()
    try:
        refresh_connections()
    except Exception as error:
        logger.warning("The database connections could not be looked after: %s", error)
