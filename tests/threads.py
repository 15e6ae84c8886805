"""Many callers at once, each with database connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

T = TypeVar("T")


def in_threads(*callers: Callable[[], T]) -> list[T]:
    """Call all of them at the same moment; their values in order. The first exception is raised."""
    start = Barrier(len(callers))

    def call(func: Callable[[], T]) -> T:
        try:
            start.wait(20)
            return func()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(callers)) as pool:
        return [future.result(60) for future in [pool.submit(call, func) for func in callers]]


def in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it, and close the connections of the thread in which Django's async ORM works."""

    async def run() -> T:
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(run())
