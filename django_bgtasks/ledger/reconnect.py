"""A connection that was lost while a task ran; outside of a transaction nothing else was lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from django.db import Error, connections

T = TypeVar("T")
# As libpq counts: idle, and unknown, for the connection is known to be lost.
OUTSIDE = (0, 4)


def asked(question: Callable[[], T], alias: str) -> T:
    """What the database answers, on a new connection if the one at hand is lost.

    question: safe to ask twice, for only its answer may have been lost. Within a transaction the
    connection is the caller's, and so is the error.
    """
    connection = connections[alias]
    if in_transaction(alias):
        return question()
    try:
        return question()
    except errors_of(alias):
        if not is_lost(connection):
            raise
    # MySQL's driver complains of one that is closed already, and Django forgets it all the same.
    with suppress(*errors_of(alias)):
        connection.close()
    return question()


def errors_of(alias: str) -> tuple[type[Exception], ...]:
    """What a database raises: Django lets a driver's own error through when a cursor closes."""
    connection: Any = connections[alias]
    return Error, connection.Database.Error


def in_transaction(alias: str) -> bool:
    """Whether this thread's session is in a transaction, begun with Django or on the driver.

    The driver of MySQL and MariaDB does not tell of one that was begun with SQL.
    """
    connection: Any = connections[alias]
    if connection.in_atomic_block:
        return True
    session = connection.connection
    if session is None:
        return False
    if connection.vendor == "sqlite":
        return not _is_closed_sqlite(session) and bool(session.in_transaction)
    if connection.vendor == "postgresql":
        return session.info.transaction_status not in OUTSIDE
    return not connection.autocommit


def is_lost(connection: Any) -> bool:
    """Whether this connection answers no more, after it has raised an error."""
    session = connection.connection
    if session is None:
        return True
    if connection.vendor == "sqlite":
        return _is_closed_sqlite(session)
    return not connection.is_usable()


def _is_closed_sqlite(session: Any) -> bool:
    try:
        return int(session.total_changes) < 0
    except Exception:
        # Its driver has no other way to say so.
        return True
