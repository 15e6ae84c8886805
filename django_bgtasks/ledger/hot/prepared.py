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

from django.db import connections

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


def run(sql: str, params: Sequence[Any], alias: str, *, searches: bool = False) -> list[Any]:
    """Execute the statement and return its rows.

    searches: the statement looks for rows; its plan is made anew every REPLAN_AFTER seconds.
    """
    connection: Any = connections[alias]
    connection.ensure_connection()
    if Cursor is None or connection.queries_logged or _is_pooled(connection):
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())
    cursor = connection.make_cursor(_cursor(connection))
    if searches:
        _replan(connection, cursor)
    with _preparing(connection.connection):
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _is_pooled(connection: Any) -> bool:
    """Whether the site says that a pooler, such as PgBouncer, may change the server's session."""
    return bool(connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))


def _cursor(connection: Any) -> Any:
    connection.validate_thread_sharing()
    cursor = _cursors.get(connection)
    if cursor is None or cursor.connection is not connection.connection:
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
