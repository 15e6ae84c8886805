"""Processes under test that are made to stand still, as when their host is frozen."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
from django.db import connection

from .waiting import wait_until


def stop(processes: Sequence[psutil.Process]) -> None:
    """SIGSTOP, at a moment when none of them holds the write lock of SQLite.

    There is one such lock: who stands still with it stops all others too, and nobody can help it.
    """
    with _between_writes():
        for process in processes:
            process.suspend()
        wait_until(lambda: all(p.status() == psutil.STATUS_STOPPED for p in processes))


@contextmanager
def _between_writes() -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    own = sqlite3.connect(connection.settings_dict["NAME"], timeout=30, isolation_level=None)
    try:
        own.execute("BEGIN IMMEDIATE")
        yield
    finally:
        own.close()
