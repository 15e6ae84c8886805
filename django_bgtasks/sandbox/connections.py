"""Database connections of a process: given back to their pool, dropped, or left to a parent."""

from __future__ import annotations

from math import inf
from typing import Any

from django.db import connections

from ..ledger.connection import forget_threads

# Never removed: a connection that nobody refers to any more is closed.
_abandoned: list[Any] = []


def drop_connections() -> None:
    """Close all connections, whatever they are in the middle of."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def abandon_connections() -> None:
    """In a fork: leave all connections to the parent. Closing them here would end them there."""
    forget_threads()
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
    options = [connection.settings_dict["OPTIONS"].get("pool") for connection in connections.all()]
    pools = [pool if isinstance(pool, dict) else {} for pool in options if pool]
    sizes = [pool.get("max_size") or pool.get("min_size", 4) for pool in pools]
    return min(sizes, default=inf)


def close_for_good() -> None:
    """Before a fork: close all connections, and the pools, whose threads a fork does not take."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if getattr(connection, "pool", None) is not None:
            connection.close_pool()  # type: ignore[attr-defined]
