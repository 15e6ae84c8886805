"""Run a statement that psycopg prepares once a connection and sends by the extended protocol.

Django's cursors write the values into the text, which PostgreSQL then has to parse and to plan
again each time. A site's wrappers and its log of queries see these statements like all others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections

from .. import pooler

try:
    from psycopg import Cursor
except ImportError:
    Cursor = None  # type: ignore[assignment,misc]

# PostgreSQL keeps the plan that it made while a table was small, until statistics are gathered:
# reading all rows was the best way when the worker started, and is the worst a minute later.
REPLAN_AFTER = 5.0
# One for each of Django's connections: it costs more to make than to use.
_cursors: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
# When each of them was last told to plan anew, by the monotonic clock.
_planned: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


def run(sql: str, params: Sequence[Any], using: str, *, searches: bool = False) -> list[Any]:
    """Execute the statement and return its rows.

    searches: the statement looks for rows; its plan is made anew every REPLAN_AFTER seconds.
    """
    return run_on(connections[using], sql, params, searches=searches)


def run_on(
    connection: Any, sql: str, params: Sequence[Any], *, searches: bool = False
) -> list[Any]:
    """The same on this connection, whether or not it is the one that its using has here."""
    connection.ensure_connection()
    if Cursor is None or connection.queries_logged or pooler.says_so(connection):
        return _run_plainly(sql, params, connection)
    own = _cursor(connection)
    if own is None:
        return _run_plainly(sql, params, connection)
    cursor = connection.make_cursor(own)
    try:
        if searches:
            _replan(connection, cursor)
        with _preparing(connection.connection):
            cursor.execute(sql, params)
            return list(cursor.fetchall())
    except DatabaseError as error:
        if not pooler.is_its_doing(error):
            raise
        # It came after the first look, as with a failover. Nothing was executed.
        pooler.found(connection)
        _cursors.pop(connection, None)
        if connection.in_atomic_block or not connection.get_autocommit():
            raise
        return _run_plainly(sql, params, connection)


def _run_plainly(sql: str, params: Sequence[Any], connection: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _cursor(connection: Any) -> Any:
    """The cursor of this session; None if nothing may be prepared in it."""
    connection.validate_thread_sharing()
    cursor = _cursors.get(connection)
    if cursor is None or cursor.connection is not connection.connection:
        if pooler.is_pooled(connection):
            return None
        cursor = _cursors[connection] = Cursor(connection.connection)
    return cursor


def _replan(connection: Any, cursor: Any) -> None:
    moment = time.monotonic()
    if moment - _planned.setdefault(connection, moment) > REPLAN_AFTER:
        cursor.execute("DISCARD PLANS")
        _planned[connection] = moment


@contextmanager
def _preparing(session: Any) -> Iterator[None]:
    """Django has psycopg prepare nothing; here it prepares at the first use."""
    before, session.prepare_threshold = session.prepare_threshold, 0
    try:
        yield
    finally:
        session.prepare_threshold = before
