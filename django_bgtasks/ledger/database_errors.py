"""What an error of the database means: it is away, it refuses, or others were in the way."""

from __future__ import annotations

from typing import Any

from django.db import Error, InterfaceError, InternalError, OperationalError, connections

# InternalError: so psycopg names the end of a session that idled in its transaction, and a write
# on a server that has become a standby.
DISCONNECTED = (OperationalError, InterfaceError, InternalError)
LOCK_NOT_AVAILABLE = "55P03"
TRANSACTION_ROLLBACK = "40"  # the class of deadlocks and serialization failures
SQLITE_BUSY, SQLITE_LOCKED = 5, 6
# A row that has changed since the transaction began (MariaDB), a wait for a lock, a deadlock.
MYSQL_RECORD_CHANGED, MYSQL_LOCK_WAIT_TIMEOUT, MYSQL_DEADLOCK = 1020, 1205, 1213
MYSQL_DUPLICATE = 1062
# Denied: the database, a table, a column, a routine; and what a trigger signals.
MYSQL_REFUSALS = (1044, 1142, 1143, 1370, 1644)
# Classes of SQLSTATE that may pass: connection, transaction state (a standby is read-only),
# rollback, resources, locks, an operator's intervention, the system.
TRANSIENT = ("08", "25", "40", "53", "55", "57", "58")
# What is the matter if the row of a job is there, and its worker cannot see it.
OUT_OF_SIGHT = (
    "The task changed its database session, by SET ROLE or search_path say: the row of its own job "
    "was out of sight, and its transaction was rolled back. Use SET LOCAL, and RESET it."
)


def errors_of(using: str) -> tuple[type[Exception], ...]:
    """What a database raises: Django lets a driver's own error through when a cursor closes."""
    connection: Any = connections[using]
    return Error, connection.Database.Error


def was_rolled_back(error: BaseException, session: Any, using: str) -> bool:
    """Whether the database ended a transaction by itself: the connection was lost, or another
    transaction was in the way. Then the error says nothing about who was in the transaction.

    session: the connection on which the transaction had begun.
    """
    lost: bool = connections[using].connection is not session
    return lost or is_conflict(error)


def is_conflict(error: BaseException) -> bool:
    """Whether the error is about another transaction, and not about the database."""
    return is_rollback(error) or is_lock_timeout(error)


def is_refusal(error: BaseException) -> bool:
    """Whether the database answered, and would refuse the same statement again.

    A right that is missing, say, or an error that a trigger raises. What nobody knows is taken for
    an outage.
    """
    if not isinstance(error, DISCONNECTED):
        return True
    if state := _state(error.__cause__):
        return not state.startswith(TRANSIENT)
    return _number(error.__cause__) in MYSQL_REFUSALS


def is_duplicate(error: BaseException) -> bool:
    """Whether MySQL or MariaDB refused a row because a unique value of it is there already."""
    return bool(_number(error.__cause__) == MYSQL_DUPLICATE)


def is_rollback(error: BaseException) -> bool:
    """Whether the database undid the transaction for the sake of another one."""
    cause = error.__cause__
    return _state(cause).startswith(TRANSACTION_ROLLBACK) or _number(cause) in (
        MYSQL_RECORD_CHANGED,
        MYSQL_DEADLOCK,
    )


def is_file_locked(error: BaseException) -> bool:
    """Whether another process has the lock on an SQLite database, so that nobody else can write."""
    # The low byte is the error, the others tell its kind.
    code = getattr(error.__cause__, "sqlite_errorcode", None) or 0
    return code & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)


def is_lock_timeout(error: BaseException) -> bool:
    """Whether somebody else has kept a lock for too long."""
    cause = error.__cause__
    return (
        is_file_locked(error)
        or _state(cause) == LOCK_NOT_AVAILABLE
        or _number(cause) == MYSQL_LOCK_WAIT_TIMEOUT
    )


def _state(cause: BaseException | None) -> str:
    return str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")


def _number(cause: BaseException | None) -> Any:
    return cause.args[0] if cause is not None and cause.args else None
