"""The connection to the database: the session behind it, and the work that outlives that.

Whether a transaction is open is asked of the driver, for Django knows only those that it began.
What a session is set to is read in one statement, and only after somebody has used the connection.

What the database undid, or what was lost with the session, is repeated: by `retry_on_conflict` for
whoever may be a view, by `retry_until_connected` for workers, by `retry_if_lost` where a task may
have idled for long. In somebody's transaction nothing is repeated: more than ours is undone.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from inspect import signature
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet, ref

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.signals import connection_created

from ..core import clock
from ..core.outcomes import message_of
from .database_errors import DISCONNECTED, errors_of, is_lock_timeout, is_refusal, is_rollback
from .pooler import is_pooled
from .statements import run_prepared

logger = logging.getLogger("django_bgtasks")
P = ParamSpec("P")
T = TypeVar("T")

# How often something is tried that others are in the way of, and until how many seconds after the
# first time: a wait for a lock may take long by itself.
TRIES, LONGEST_TRY = 10, 10.0
FIRST_WAIT, LAST_WAIT = 0.01, 0.5
# Connections of processes that do not wait for a lock again: maintenance has its next turn soon.
WITHOUT_LOCK_RETRIES: WeakSet[Any] = WeakSet()
# Where a connection has its note, which each task reads twice, and a pool's session how it began.
ATTRIBUTE = "bgtasks_session"
# libpq's PQTRANS_ACTIVE, PQTRANS_INTRANS and PQTRANS_INERROR: a statement or a transaction is open.
BUSY, IN_ERROR = (1, 2, 3), 3
# What the statements of others depend on, and pg_advisory_unlock_all() for the locks that a session
# keeps until it ends, which a worker's session may not do for weeks.
POSTGRES_SETTINGS = (
    *("role", "search_path", "session_replication_role", "row_security"),
    *("default_transaction_isolation", "default_transaction_read_only"),
    *("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"),
    *("synchronous_commit", "client_encoding", "standard_conforming_strings"),
    *("TimeZone", "DateStyle", "IntervalStyle", "bytea_output"),
)
POSTGRES = (
    "SELECT session_user::text, pg_my_temp_schema()::text, pg_advisory_unlock_all()::text, "
    + ", ".join(f"current_setting('{name}')" for name in POSTGRES_SETTINGS)
)
_of_psycopg = attrgetter("autocommit", "isolation_level", "read_only", "deferrable", "row_factory")
# Attributes of a driver's connection that are called before, or when, it sends a statement.
PSYCOPG_CURSORS = ("cursor_factory", "server_cursor_factory")
MYSQL_QUERY = ("query",)
MYSQL_SETTINGS = (
    *("autocommit", "sql_mode", "time_zone", "foreign_key_checks", "unique_checks"),
    *("sql_safe_updates", "sql_select_limit", "character_set_connection", "collation_connection"),
    *("innodb_lock_wait_timeout", "lock_wait_timeout"),
)
MYSQL = "SELECT DATABASE(), CURRENT_USER(), CURRENT_ROLE(), RELEASE_ALL_LOCKS(), " + ", ".join(
    f"@@SESSION.{name}" for name in MYSQL_SETTINGS
)
# The same settings have other names there.
MARIADB_EXTRA = ", @@SESSION.tx_isolation, @@SESSION.tx_read_only"
MYSQL_EXTRA = ", @@SESSION.transaction_isolation, @@SESSION.transaction_read_only"
SQLITE_PRAGMAS = (
    *("foreign_keys", "query_only", "database_list", "defer_foreign_keys"),
    *("locking_mode", "busy_timeout"),
)
# What sets something for the session. PostgreSQL and MySQL have settings that they do not list,
# which rules about rows ask for: `SET app.tenant = '7'`, `SET @tenant = 7`.
SETTING = re.compile(r"\s*SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)", re.IGNORECASE)
LATER_SETTING = re.compile(f";{SETTING.pattern}", re.IGNORECASE)
FOR_THE_TRANSACTION = re.compile(r"set_config\s*\(.*,\s*true\s*\)", re.IGNORECASE | re.DOTALL)
# The threads of this process that have begun sessions, and with which connection.
_begun: list[tuple[threading.Thread, ref[Any]]] = []
_counting = threading.Lock()
_of_sqlite = attrgetter("isolation_level", "row_factory", "text_factory", "in_transaction")
_here = threading.local()


class Session:
    """What is noted of a connection's session: how it began, and whether somebody has used it.

    used: whether statements may have been sent since it was set to False; sent: whether one was,
    by Django; sets: whether one of these has set something that the session keeps. The note stands
    in the connection's execute_wrappers, through which Django sends all but the ledger's own
    statements, where psycopg makes cursors, and where MySQL's driver sends.
    """

    __slots__ = ("driver", "own", "sent", "servers", "sets", "used")
    # The ledger's own statements need not go through it.
    only_notes = True

    def __init__(self, connection: Any) -> None:
        self.used = self.sent = True
        self.sets = False
        self.driver: Any = None
        self.own: Any = None
        self.servers: Any = None
        # First: a site's own wrapper that is in force is the last, and leaves as the last.
        connection.execute_wrappers.insert(0, self)

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """Note the use, and send the statement."""
        self.used = self.sent = True
        if self.driver is not None and not self.sets:
            self.sets = _sets_session(sql, params, context["connection"])
        return execute(sql, params, many, context)

    def begin(self, connection: Any) -> None:
        """Remember what the connection's session is set to, now that it begins.

        One from a pool has begun before, and is not asked again.
        """
        driver = connection.connection
        for name in _ways_of_use(connection.vendor, driver):
            way = getattr(driver, name)
            # One from a pool may still note the use of another thread's connection.
            setattr(driver, name, self._noted_by(getattr(way, "instead_of", way)))
        with suppress(DatabaseError, InterfaceError):
            began = getattr(driver, ATTRIBUTE, None)
            if began is None:
                began = _own_settings(connection.vendor, driver), _servers_settings(connection)
            if getattr(connection, "pool", None) is not None:
                setattr(driver, ATTRIBUTE, began)
            self.driver, (self.own, self.servers) = driver, began
            self.sets = False

    def is_changed(self, connection: Any) -> bool:
        """Whether the session is set otherwise than when it began, as far as that is remembered.

        The server is asked only if somebody has sent it statements. What cannot be asked any more
        is changed too.
        """
        if self.driver is None or self.driver is not connection.connection:
            return False
        try:
            if self.sets or self.own != _own_settings(connection.vendor, self.driver):
                return True
            return self.used and bool(self.servers != _servers_settings(connection))
        except Exception:
            return True

    def _noted_by(self, way: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            self.used = True
            return way(*args, **kwargs)

        noting.instead_of = way  # type: ignore[attr-defined]
        return noting


def run_no_tasks_here() -> None:
    """In a thread that runs no tasks nothing is remembered: its sessions stay as they are."""
    _here.runs_tasks = False


def remember_new_sessions() -> None:
    """From now on: remember of each new session of this process what it is set to."""
    connection_created.connect(_remember, dispatch_uid="django_bgtasks.sessions")


def session_of(connection: Any) -> Session:
    """The note of this connection's session. It is there from the first call on."""
    session: Session | None = getattr(connection, ATTRIBUTE, None)
    if session is None:
        session = Session(connection)
        setattr(connection, ATTRIBUTE, session)
    return session


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


def is_closed(connection: Any) -> bool:
    """Whether the session has been closed at the driver, behind Django's back."""
    driver = connection.connection
    if driver is None:
        return False
    if connection.vendor == "postgresql":
        return bool(driver.closed)
    if connection.vendor == "mysql":
        return not driver.open
    if connection.vendor == "sqlite":
        try:
            driver.total_changes  # noqa: B018 - reading it raises if the session is closed
        except connection.Database.ProgrammingError:
            return True
    return False


def is_lost(connection: Any) -> bool:
    """Whether this connection answers no more, after it has raised an error; one round trip."""
    if connection.connection is None:
        return True
    return is_closed(connection) if connection.vendor == "sqlite" else not connection.is_usable()


def is_in_transaction(using: str) -> bool:
    """Whether somebody has begun a transaction here, with Django or not, or commits by himself."""
    connection = connections[using]
    if connection.in_atomic_block:
        return True
    commits_by_hand = connection.connection is not None and not connection.autocommit
    return commits_by_hand or has_open_transaction(connection)


def has_open_transaction(connection: Any) -> bool:
    """Whether the driver knows of an open transaction. False where drivers do not (MySQL)."""
    driver = connection.connection
    if driver is None:
        return False
    if connection.vendor == "postgresql":
        libpq = getattr(driver, "pgconn", None)
        status = driver.info if libpq is None else libpq
        return bool(status.transaction_status in BUSY)
    if connection.vendor == "sqlite" and not is_closed(connection):
        return bool(driver.in_transaction)
    return False


def is_aborted(connection: Any) -> bool:
    """Whether an error has ended the transaction: PostgreSQL refuses all that follows in it."""
    if connection.vendor != "postgresql" or connection.connection is None:
        return False
    driver = connection.connection
    libpq = getattr(driver, "pgconn", None)
    status = driver.info if libpq is None else libpq
    return bool(status.transaction_status == IN_ERROR)


def leaves_transaction_unseen(connection: Any) -> bool:
    """Whether a server has an open transaction of which its driver says nothing (MySQL).

    It is asked only if somebody has sent it statements.
    """
    if connection.vendor != "mysql" or not session_of(connection).used:
        return False
    try:
        return _mysql_is_in_transaction(connection)
    except (DatabaseError, InterfaceError):
        # It cannot be used at all: nobody commits what is open in it.
        return False


def begin_new_session(using: str) -> bool:
    """Have the next statement begin a new session. False within a transaction: nothing is done."""
    connection = connections[using]
    if connection.in_atomic_block:
        return False
    # MySQL's driver complains of one that is closed already, and Django forgets it all the same.
    with suppress(*errors_of(using)):
        connection.close()
    return True


def end_session(connection: Any) -> None:
    """End the session, and with it all that is open or set in it. The next use begins a new one."""
    session = connection.connection
    if session is None:
        return
    with suppress(Exception):
        if connection.vendor == "sqlite":
            _close_cursors(connection)
            # Django does not close a database in memory.
            session.rollback()
            session.isolation_level = None
            connection.autocommit = True
        elif getattr(connection, "pool", None) is not None:
            # A pool would give it to the next one as it is.
            session.close()
    with suppress(Exception):
        connection.close()


def forget_threads() -> None:
    """In a fork: the sessions of the threads that it has not taken along are its parent's."""
    _begun.clear()


def _is_worth_another_try(error: BaseException, using: str) -> bool:
    if is_lock_timeout(error):
        return connections[using] not in WITHOUT_LOCK_RETRIES
    return is_rollback(error)


def _remember(connection: Any, **kwargs: Any) -> None:
    if not getattr(_here, "runs_tasks", True):
        return
    session_of(connection).begin(connection)
    with _counting:
        over = [entry for entry in _begun if not entry[0].is_alive()]
        _begun[:] = [entry for entry in _begun if entry not in over and entry[1]() is not None]
        _begun.append((threading.current_thread(), ref(connection)))
    # A thread's session would outlive it until Python sees the garbage: tasks with threads of their
    # own would soon have all sessions that the server has.
    for _, connection_of in over:
        if (unused := connection_of()) is not None:
            unused.inc_thread_sharing()
            end_session(unused)


def _sets_session(sql: Any, params: Any, connection: Any) -> bool:
    """Whether this statement sets something for longer than its transaction."""
    if connection.vendor == "sqlite":
        return False
    if not isinstance(sql, str):
        # psycopg composes statements of several parts.
        sql = sql.as_string(connection.connection) if hasattr(sql, "as_string") else str(sql)
    if "set_config" in sql or "SET_CONFIG" in sql:
        values = params.values() if isinstance(params, dict) else params or ()
        return not (FOR_THE_TRANSACTION.search(sql) or any(value is True for value in values))
    return bool(SETTING.match(sql) or (";" in sql and LATER_SETTING.search(sql)))


def _close_cursors(connection: Any) -> None:
    """A query that was not read to its end keeps SQLite's lock, also when its session is closed.

    Nobody but the collector of garbage knows the cursors of a session.
    """
    for one in gc.get_referrers(connection.connection):
        if isinstance(one, connection.Database.Cursor):
            one.close()


def _ways_of_use(vendor: str, driver: Any) -> tuple[str, ...]:
    if vendor == "postgresql" and hasattr(driver, "pgconn"):
        return PSYCOPG_CURSORS
    return MYSQL_QUERY if vendor == "mysql" else ()


def _own_settings(vendor: str, driver: Any) -> Any:
    """What is set at the driver, and by which socket it talks."""
    if vendor == "postgresql":
        return os.fstat(driver.fileno()).st_ino, _of_psycopg(driver)
    if vendor == "sqlite":
        # In force for the next statement, which raises, while a query is not read to its end.
        driver.interrupt()
        driver.execute("SELECT 1").fetchall()
        # The last of them raises if the session is closed.
        return _of_sqlite(driver)
    return (bool(driver.open), driver.get_autocommit()) if vendor == "mysql" else None


def _servers_settings(connection: Any) -> Any:
    if connection.vendor == "postgresql":
        # Behind PgBouncer each statement may have another session.
        return None if is_pooled(connection) else run_prepared(POSTGRES, [], connection)
    if connection.vendor == "sqlite":
        run = connection.connection.execute
        return [run(f"PRAGMA {name}").fetchall() for name in SQLITE_PRAGMAS]
    if connection.vendor == "mysql":
        extra = MARIADB_EXTRA if connection.mysql_is_mariadb else MYSQL_EXTRA
        with connection.cursor() as cursor:
            # Nothing tells whether there are any.
            cursor.execute("UNLOCK TABLES")
            cursor.execute(MYSQL + extra)
            return cursor.fetchall()
    return None


def _mysql_is_in_transaction(connection: Any) -> bool:
    with connection.cursor() as cursor:
        if connection.mysql_is_mariadb:
            cursor.execute("SELECT @@in_transaction")
            return bool(cursor.fetchone()[0])
        # Without a transaction a savepoint is gone with its own statement.
        cursor.execute("SAVEPOINT bgtasks_probe")
        with suppress(DatabaseError):
            cursor.execute("RELEASE SAVEPOINT bgtasks_probe")
            return True
    return False
