"""What is remembered of a connection's database session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from django_bgtasks.ledger.connection import remember_new_sessions, session_of
from tests.app.tasks import write

from .rows import DB

pytestmark = pytest.mark.django_db(transaction=True)
# How to set one, and how to see it.
LOCK_LIMITS = {
    "postgresql": ("SELECT set_config('lock_timeout', '7s', false)", "SHOW lock_timeout"),
    "mysql": ("SET SESSION lock_wait_timeout = 7", "SELECT @@SESSION.lock_wait_timeout"),
    "sqlite": ("PRAGMA busy_timeout = 7000", "PRAGMA busy_timeout"),
}


@pytest.fixture(autouse=True)
def remembering() -> Iterator[None]:
    """As in a job process."""
    remember_new_sessions()
    yield
    connection_created.disconnect(dispatch_uid="django_bgtasks.sessions")


@pytest.fixture
def pooled() -> Iterator[Any]:
    """A connection with a pool of one session."""
    pytest.importorskip("psycopg_pool")
    copy: Any = connection.copy(DB)
    copy.settings_dict["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 1}}
    copy.settings_dict["CONN_MAX_AGE"] = 0
    yield copy
    copy.close()
    copy.close_pool()


def value(of: Any, question: str) -> Any:
    with of.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


@pytest.mark.postgres
@pytest.mark.mysql
def test_a_connection_beside_those_of_the_settings_can_be_made_and_used() -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@pytest.mark.postgres
def test_what_a_connection_is_set_to_is_asked_of_itself() -> None:
    copy: Any = connection.copy(DB)
    value(connection, "SELECT set_config('lock_timeout', '4s', false)")
    try:
        assert value(copy, "SHOW lock_timeout") == "0"
        assert not session_of(copy).is_changed(copy)
        value(copy, "SELECT set_config('lock_timeout', '5s', false)")
        assert session_of(copy).is_changed(copy)
    finally:
        copy.close()
        connection.close()


@pytest.mark.postgres
def test_a_session_of_a_pool_is_asked_what_it_is_set_to_when_it_begins_only(pooled: Any) -> None:
    assert value(pooled, "SELECT 1") == 1
    pooled.close()
    sent: list[str] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        sent.append(sql)
        return execute(sql, *args)

    with pooled.execute_wrapper(note):
        assert value(pooled, "SELECT 2") == 2
    assert sent == ["SELECT 2"]


@pytest.mark.postgres
def test_a_session_that_a_task_has_changed_and_given_back_to_its_pool_is_seen(pooled: Any) -> None:
    value(pooled, "SELECT set_config('lock_timeout', '5s', false)")
    pooled.close()
    assert value(pooled, "SHOW lock_timeout") == "5s"
    assert session_of(pooled).is_changed(pooled)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("statement", "params", "stays"),
    [
        ("SET app.customer = '7'", None, True),
        ("\n  set SESSION app.customer TO '7'", None, True),
        ("SELECT 1; SET app.customer = '7'", None, True),
        ("SELECT set_config('app.customer', %s, false)", ["7"], True),
        ("SELECT set_config(%s, %s, %s)", ["app.customer", "7", False], True),
        ("SET LOCAL app.customer = '7'", None, False),
        ("SET CONSTRAINTS ALL IMMEDIATE", None, False),
        ("SELECT set_config('app.customer', %s, true)", ["7"], False),
        ("SELECT set_config(%(a)s, %(b)s, %(c)s)", {"a": "app.x", "b": "7", "c": True}, False),
        ("UPDATE tests_app_note SET text = 'SET; reset'", None, False),
    ],
)
def test_a_session_in_which_something_is_set_is_changed_unless_it_ends_with_the_transaction(
    statement: Any, params: Any, stays: bool
) -> None:
    copy: Any = connection.copy(DB)
    try:
        with copy.cursor() as cursor:
            cursor.execute("BEGIN")
            assert not session_of(copy).is_changed(copy)
            cursor.execute(statement, params)
            cursor.execute("COMMIT")
        assert session_of(copy).is_changed(copy) is stays
    finally:
        copy.close()


@pytest.mark.postgres
def test_what_a_statement_sets_is_seen_when_the_driver_composes_it() -> None:
    composed: Any = pytest.importorskip("psycopg.sql")
    copy: Any = connection.copy(DB)
    try:
        with copy.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert not session_of(copy).is_changed(copy)
            cursor.execute(composed.SQL("SET app.customer = {}").format(composed.Literal("7")))
        assert session_of(copy).is_changed(copy)
    finally:
        copy.close()


def test_a_query_that_was_read_to_its_end_changes_nothing_and_ends_nothing() -> None:
    copy: Any = connection.copy(DB)
    try:
        assert value(copy, "SELECT 1") == 1
        assert not session_of(copy).is_changed(copy)
        assert not session_of(copy).is_changed(copy)
        assert value(copy, "SELECT 2") == 2
    finally:
        copy.close()


def test_what_a_task_has_set_in_its_session_outlives_a_job_that_it_runs_inline() -> None:
    connection.close()
    changes, show = LOCK_LIMITS[connection.vendor]
    try:
        value(connection, show)
        with connection.cursor() as cursor:
            cursor.execute(changes)
        changed = value(connection, show)
        write.using(inline=True).enqueue("of its own")
        assert value(connection, show) == changed
        assert session_of(connection).is_changed(connection)
    finally:
        connection.close()
