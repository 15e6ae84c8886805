"""Database connections around a job, as Django checks them around a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

# Kept for good: a connection that nobody refers to any more is closed.
_abandoned: list[Any] = []


def refresh_connections() -> None:
    """Close what is broken or too old.

    CONN_MAX_AGE = 0 means "for one request" and would cost a worker a new connection for every
    job: a worker keeps such a connection while it lives.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            continue
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            connection.close_at = None
        connection.close_if_unusable_or_obsolete()


def drop_connections() -> None:
    """Close all connections, whatever they are in the middle of."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def abandon_connections() -> None:
    """In a fork: leave all connections to the parent. Closing them here would end them there."""
    for connection in connections.all(initialized_only=True):
        _abandoned.append(connection)
        del connections[connection.alias]


def give_back_connections() -> None:
    """Let others of this process have a pool's connections, which this thread has used."""
    for connection in connections.all(initialized_only=True):
        if getattr(connection, "pool", None) is not None and not connection.in_atomic_block:
            connection.close()


def close_for_good() -> None:
    """Before a fork: close all connections, and the pools, whose threads a fork does not take."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if getattr(connection, "pool", None) is not None:
            connection.close_pool()  # type: ignore[attr-defined]


@contextmanager
def no_transaction_left_open() -> Iterator[None]:
    """Roll back a transaction that is begun within it and not ended, and say so.

    The settlement, and all jobs after this one, would otherwise hang in it.
    """
    before = {connection.alias: len(_blocks(connection)) for connection in connections.all(True)}
    try:
        yield
    except BaseException:
        _leave(before)
        raise
    if _leave(before):
        raise RuntimeError(
            "The task left a transaction open; what it wrote there was rolled back. "
            "Use `with transaction.atomic():`."
        )


@contextmanager
def kept_usable(alias: str) -> Iterator[None]:
    """Within somebody's transaction, as a test's: an error of the database must not end it.

    What the task wrote before such an error goes with it there; a worker has no such transaction.
    """
    connection: Any = connections[alias]
    if not connection.in_atomic_block:
        yield
        return
    savepoint = connection.savepoint()
    try:
        yield
    except BaseException:
        if connection.needs_rollback or not connection.is_usable():
            connection.needs_rollback = False
            connection.savepoint_rollback(savepoint)
        raise
    connection.savepoint_commit(savepoint)


def _leave(before: dict[str, int]) -> bool:
    """Leave the atomic blocks that are open beyond `before`, as an exception would leave them."""
    left = False
    for connection in connections.all(initialized_only=True):
        while len(blocks := _blocks(connection)) > before.get(connection.alias, 0):
            blocks[-1].__exit__(RuntimeError, RuntimeError("left open"), None)
            left = True
    return left


def _blocks(connection: Any) -> list[Any]:
    """The atomic blocks that the connection is in, the outermost first."""
    blocks: list[Any] = connection.atomic_blocks
    return blocks
