"""Database connections around a job, as Django checks them around a request."""

from __future__ import annotations

from django.db import connections


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
