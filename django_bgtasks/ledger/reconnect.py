"""A connection that was lost while a task ran; outside of a transaction nothing else was lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from django.db import Error, connections

from .outages import is_in_transaction
from .sessions import is_closed

T = TypeVar("T")


def asked(question: Callable[[], T], using: str) -> T:
    """What the database answers, on a new connection if the one at hand is lost.

    question: safe to ask twice, for only its answer may have been lost. Within a transaction the
    connection is the caller's, and so is the error.
    """
    connection = connections[using]
    if is_in_transaction(using):
        return question()
    try:
        return question()
    except errors_of(using):
        if not is_lost(connection):
            raise
    # MySQL's driver complains of one that is closed already, and Django forgets it all the same.
    with suppress(*errors_of(using)):
        connection.close()
    return question()


def errors_of(using: str) -> tuple[type[Exception], ...]:
    """What a database raises: Django lets a driver's own error through when a cursor closes."""
    connection: Any = connections[using]
    return Error, connection.Database.Error


def is_lost(connection: Any) -> bool:
    """Whether this connection answers no more, after it has raised an error."""
    session = connection.connection
    if session is None:
        return True
    if connection.vendor == "sqlite":
        return is_closed(connection)
    return not connection.is_usable()
