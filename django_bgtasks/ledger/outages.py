"""What an error of the database means: it is away, or another transaction was in our way.

And what is done about it: `retry_on_conflict` for whoever may be a view, `retry_until_connected`
for workers, `retry_if_lost` where a task may have idled for long. In somebody's transaction nothing
is repeated: more than ours is undone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from django.db import (
    DatabaseError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
    transaction,
)

from ..core import clock
from ..core.outcomes import message_of
from .sessions import has_open_transaction, is_lost

logger = logging.getLogger("django_bgtasks")
P = ParamSpec("P")
T = TypeVar("T")

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

# How often something is tried that others are in the way of, and until how many seconds after the
# first time: a wait for a lock may take long by itself.
TRIES, LONGEST_TRY = 10, 10.0
FIRST_WAIT, LAST_WAIT = 0.01, 0.5
# Connections of processes that do not wait for a lock again: maintenance has its next turn soon.
WITHOUT_LOCK_RETRIES: WeakSet[Any] = WeakSet()


def retry_on_conflict(write: Callable[[], T], using: str) -> T:
    """Repeat what the database undid because another transaction was in the way; TRIES at most.

    Deadlocks, serialization failures, and waits for a lock that took too long. Inside a
    transaction the error is that of who began it, and so it is once the tries are used up.
    """
    wait, deadline = FIRST_WAIT, 0.0
    for left in reversed(range(TRIES)):
        try:
            return write()
        except DISCONNECTED as error:
            if is_in_transaction(using) or not _is_worth_another_try(error, using):
                raise
            deadline = deadline or clock.monotonic() + LONGEST_TRY
            if not left or clock.monotonic() > deadline:
                raise
        # At random, or two that were in each other's way meet again.
        time.sleep(clock.rng.uniform(0, wait))
        wait = min(wait * 2, LAST_WAIT)
    raise AssertionError("unreachable")


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Make each call of a function with a parameter `using` one with retry_on_conflict()."""
    place = [*signature(function).parameters].index("using")

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        using: Any = kwargs["using"] if "using" in kwargs else args[place]
        return retry_on_conflict(lambda: function(*args, **kwargs), using)

    return call


def in_transaction(work: Callable[[], T], using: str) -> T:
    """Do the work in a transaction; again from its start if the database undid it, see above."""

    def write() -> T:
        with transaction.atomic(using):
            return work()

    return retry_on_conflict(write, using)


def retry_until_connected(write: Callable[[], T], using: str, first_wait: float = 0.05) -> T:
    """Repeat a write that is safe to repeat until the database answers.

    Inside a transaction the connection is the caller's, and so is the error. There is no limit
    here: a worker that the database has forgotten is stopped by its supervisor. What the database
    refuses is tried once more, on a new session: a task may have changed the one before.
    """
    wait, refused = first_wait, False
    while True:
        try:
            return retry_on_conflict(write, using)
        except (DatabaseError, InterfaceError) as error:
            if is_in_transaction(using):
                raise
            if is_refusal(error):
                if refused:
                    raise
                refused = True
                begin_new_session(using)
                continue
            logger.warning(
                "The database did not answer (%s); trying again in %.1f s.",
                message_of(error) or type(error).__name__,
                wait,
            )
            begin_new_session(using)
            time.sleep(wait)
            wait = min(wait * 2, 2.0)


def retry_if_lost(query: Callable[[], T], using: str) -> T:
    """Run the query, and once more on a new connection if the one at hand is lost.

    query: safe to run twice, for only its answer may have been lost. Within a transaction the
    connection is the caller's, and so is the error.
    """
    connection = connections[using]
    if is_in_transaction(using):
        return query()
    try:
        return query()
    except errors_of(using):
        if not is_lost(connection):
            raise
    begin_new_session(using)
    return query()


def begin_new_session(using: str) -> bool:
    """Have the next statement begin a new session. False within a transaction: nothing is done."""
    connection = connections[using]
    if connection.in_atomic_block:
        return False
    # MySQL's driver complains of one that is closed already, and Django forgets it all the same.
    with suppress(*errors_of(using)):
        connection.close()
    return True


def errors_of(using: str) -> tuple[type[Exception], ...]:
    """What a database raises: Django lets a driver's own error through when a cursor closes."""
    connection: Any = connections[using]
    return Error, connection.Database.Error


def is_in_transaction(using: str) -> bool:
    """Whether somebody has begun a transaction here, with Django or not, or commits by himself."""
    connection = connections[using]
    if connection.in_atomic_block:
        return True
    commits_by_hand = connection.connection is not None and not connection.autocommit
    return commits_by_hand or has_open_transaction(connection)


def was_rolled_back(error: BaseException, session: Any, using: str) -> bool:
    """Whether the database ended a transaction by itself: the connection was lost, or another
    transaction was in the way. Then the error says nothing about who was in the transaction.

    session: the connection on which the transaction had begun.
    """
    lost: bool = connections[using].connection is not session
    return lost or is_conflict(error)


def is_conflict(error: BaseException) -> bool:
    """Whether the error is about another transaction, and not about the database."""
    return _is_rollback(error.__cause__) or _is_lock_timeout(error)


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


def _is_worth_another_try(error: BaseException, using: str) -> bool:
    if _is_lock_timeout(error):
        return connections[using] not in WITHOUT_LOCK_RETRIES
    return _is_rollback(error.__cause__)


def _is_rollback(cause: BaseException | None) -> bool:
    return _state(cause).startswith(TRANSACTION_ROLLBACK) or _number(cause) in (
        MYSQL_RECORD_CHANGED,
        MYSQL_DEADLOCK,
    )


def is_file_locked(error: BaseException) -> bool:
    """Whether another process has the lock on an SQLite database, so that nobody else can write."""
    # The low byte is the error, the others tell its kind.
    code = getattr(error.__cause__, "sqlite_errorcode", None) or 0
    return code & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)


def _is_lock_timeout(error: BaseException) -> bool:
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
