"""What an error of the database means: it is away, or it undid a transaction of ours."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError, InternalError, OperationalError, connections

# InternalError: so psycopg names the end of a session that idled in its transaction, and a write
# on a server that has become a standby.
DISCONNECTED = (OperationalError, InterfaceError, InternalError)
LOCK_NOT_AVAILABLE = "55P03"
TRANSACTION_ROLLBACK = "40"  # the class of deadlocks and serialization failures
SQLITE_BUSY, SQLITE_LOCKED = 5, 6
MYSQL_LOCK_WAIT_TIMEOUT, MYSQL_DEADLOCK = 1205, 1213
# Denied: the database, a table, a column, a routine; and what a trigger signals.
MYSQL_REFUSALS = (1044, 1142, 1143, 1370, 1644)


# Classes of SQLSTATE that may pass: connection, transaction state (a standby is read-only),
# rollback, resources, locks, an operator's intervention, the system.
PASSING = ("08", "25", "40", "53", "55", "57", "58")


def is_refusal(error: BaseException) -> bool:
    """Whether the database answered, and would refuse the same statement again.

    A right that is missing, say, or an error that a trigger raises. What nobody knows is taken for
    an outage.
    """
    if not isinstance(error, DISCONNECTED):
        return True
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state:
        return not str(state).startswith(PASSING)
    code = cause.args[0] if cause is not None and cause.args else None
    return code in MYSQL_REFUSALS


def undid(error: BaseException, session: Any, alias: str) -> bool:
    """Whether the database ended a transaction by itself, so that its error says nothing about
    who was in it: the connection was lost, or another transaction was in the way.

    session: the connection on which the transaction had begun.
    """
    lost: bool = connections[alias].connection is not session
    return lost or was_in_the_way(error)


def was_in_the_way(error: BaseException) -> bool:
    """Whether the error is about another transaction, and not about the database."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state:
        return str(state) == LOCK_NOT_AVAILABLE or str(state).startswith(TRANSACTION_ROLLBACK)
    if code := getattr(cause, "sqlite_errorcode", None):
        # The low byte is the error, the others tell its kind.
        return code & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)
    args = cause.args if cause is not None else ()
    return bool(args) and args[0] in (MYSQL_LOCK_WAIT_TIMEOUT, MYSQL_DEADLOCK)
