"""Many callers at once, each with database connections of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

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
