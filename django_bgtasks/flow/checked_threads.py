"""What coroutines do in threads that they share: a call leaves no transaction to the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from .connections import give_back_connections, no_transaction_left_open, refresh_connections
from .copies import only_here

logger = logging.getLogger("django_bgtasks")


def check_threads_of(loop: asyncio.AbstractEventLoop) -> None:
    """Check each call in the loop's own threads: of `to_thread`, say, or `thread_sensitive=False`.

    It raises RuntimeError where it leaves a transaction open.
    """
    run_in_executor = loop.run_in_executor

    def run(executor: Executor | None, act: Callable[..., Any], *args: Any) -> Any:
        call = partial(act, *args)
        return run_in_executor(executor, partial(checked, call) if executor is None else call)

    loop.run_in_executor = run  # type: ignore[method-assign]


def checked(act: Callable[[], Any]) -> Any:
    """Call this with connections that work, and see to it that no transaction is left open."""
    refresh()
    try:
        with no_transaction_left_open(), only_here():
            return act()
    finally:
        give_back_connections()


def refresh() -> None:
    """Look after the connections of this thread. One that stays broken shows when it is used."""
    try:
        refresh_connections()
    except Exception as error:
        logger.warning("The database connections could not be looked after: %s", error)
