"""Database connections around a job, as Django checks them around a request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import inf
from types import TracebackType
from typing import Any

from django.db import connections

from ..core import clock
from ..ledger import sessions
from ..ledger.sessions import session_of

LEFT_OPEN = (
    "The task left a transaction open; what it wrote there was rolled back. "
    "Use `with transaction.atomic():`."
)
ENDED = (
    "The task ended the transaction that it runs in: with atomic=True the worker commits it. "
    "Leave out COMMIT and ROLLBACK, or atomic=True."
)
# After so many seconds without a look a connection is asked whether it still lives: servers, and
# what is between, end sessions that say nothing.
ASK_AFTER = 1.0
# Kept for good: a connection that nobody refers to any more is closed.
_abandoned: list[Any] = []
_looks = threading.local()


def refresh_connections() -> None:
    """Close what is broken or too old, and what has a transaction open that nobody will end.

    CONN_MAX_AGE = 0 means "for one request" and would cost a worker a new connection for every
    job: a worker keeps such a connection while it lives.
    """
    asks = _have_waited()
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or _end_open_transaction(connection):
            continue
        if sessions.is_closed(connection) or (asks and _is_dead(connection)):
            sessions.end(connection)
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
    sessions.forget_threads()
    for connection in connections.all(initialized_only=True):
        _abandoned.append(connection)
        del connections[connection.alias]


def give_back_connections() -> None:
    """Let others of this process have a pool's connections, which this thread has used."""
    for connection in connections.all(initialized_only=True):
        if getattr(connection, "pool", None) is not None and not connection.in_atomic_block:
            connection.close()


def most_connections() -> float:
    """How many connections at once the pools of this process have; without a pool there is no end.

    As psycopg has it: four, if nothing is said.
    """
    asked = [connection.settings_dict["OPTIONS"].get("pool") for connection in connections.all()]
    pools = [pool if isinstance(pool, dict) else {} for pool in asked if pool]
    sizes = [pool.get("max_size") or pool.get("min_size", 4) for pool in pools]
    return min(sizes, default=inf)


def close_for_good() -> None:
    """Before a fork: close all connections, and the pools, whose threads a fork does not take."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if getattr(connection, "pool", None) is not None:
            connection.close_pool()  # type: ignore[attr-defined]


class SessionGuard:
    """The database sessions of this thread as a task finds them, to be so again after it.

    Made before the task, in its thread. As a context manager it raises RuntimeError where the task
    left a transaction open: its settlement, and all jobs after it, would otherwise hang in that.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, int] = {}
        for connection in connections.all(initialized_only=True):
            blocks = self._blocks[connection.alias] = len(_blocks(connection))
            if not blocks:
                _end_open_transaction(connection)
            session = session_of(connection)
            session.used = session.sent = False

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.restore() and error is None:
            raise RuntimeError(LEFT_OPEN)

    def restore(self) -> bool:
        """Roll back what the task left open, and end the sessions that it changed.

        Returns whether a transaction was left open.
        """
        left_open = False
        for connection in connections.all(initialized_only=True):
            before = self._blocks.get(connection.alias, 0)
            if len(_blocks(connection)) > before:
                left_open |= _leave(connection, before)
            left_open |= _end_open_transaction(connection)
            if connection.connection is None or connection.in_atomic_block:
                continue
            if sessions.leaves_transaction_unseen(connection):
                sessions.end(connection)
                left_open = True
            elif session_of(connection).is_changed(connection):
                sessions.end(connection)
        return left_open


def refuse_ended_transaction(using: str) -> None:
    """Raise RuntimeError if an `atomic` task has ended the transaction that it runs in, by SQL.

    What it wrote before would stand whatever becomes of the job.
    """
    connection: Any = connections[using]
    if connection.vendor not in ("postgresql", "sqlite") or not session_of(connection).sent:
        # PostgreSQL's driver begins a transaction with the first statement.
        return
    if not sessions.has_open_transaction(connection):
        raise RuntimeError(ENDED)


def kept_usable(using: str) -> AbstractContextManager[None]:
    """Within somebody's transaction, as a test's: an error of the database must not end it.

    What the task wrote before such an error goes with it there; a worker has no such transaction.
    """
    connection: Any = connections[using]
    return _in_savepoint(connection) if connection.in_atomic_block else nullcontext()


@contextmanager
def _in_savepoint(connection: Any) -> Iterator[None]:
    savepoint = connection.savepoint()
    try:
        yield
    except BaseException:
        if connection.needs_rollback or not connection.is_usable():
            connection.needs_rollback = False
            connection.savepoint_rollback(savepoint)
        raise
    connection.savepoint_commit(savepoint)


def _have_waited() -> bool:
    """Whether the connections of this thread were not looked at for a while."""
    now = clock.monotonic()
    last, _looks.at = getattr(_looks, "at", now), now
    return now - last > ASK_AFTER


def _is_dead(connection: Any) -> bool:
    """Whether the database does not answer on it any more; one round trip."""
    return connection.connection is not None and not connection.is_usable()


def _leave(connection: Any, before: int) -> bool:
    """Leave the atomic blocks that are open beyond `before`, as an exception would leave them."""
    left = False
    while len(blocks := _blocks(connection)) > before:
        blocks[-1].__exit__(RuntimeError, RuntimeError("left open"), None)
        left = True
    return left


def _end_open_transaction(connection: Any) -> bool:
    """End a transaction that is open though Django is in no block. Whether there was one."""
    if connection.in_atomic_block or not sessions.has_open_transaction(connection):
        return False
    sessions.end(connection)
    return True


def _blocks(connection: Any) -> list[Any]:
    """The atomic blocks that the connection is in, the outermost first."""
    blocks: list[Any] = connection.atomic_blocks
    return blocks
