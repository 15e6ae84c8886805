"""On SQLite with Django's default settings no write of a worker takes the lock from a view."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from django.db.backends.signals import connection_created

from django_bgtasks.core import clock
from django_bgtasks.core.current import running
from django_bgtasks.jobs.execute import Run
from django_bgtasks.ledger import sqlite_locking
from django_bgtasks.ledger.own_transactions import write_beside_nobody
from django_bgtasks.ledger.sqlite_locking import Gap
from django_bgtasks.models import Job
from tests.waiting import wait_until

from .sqlite_sessions import (
    INSERT,
    WAYS,
    beside,
    can_be_read,
    each_way,
    reads_and_writes,
    tell,
    titles,
    view_beside,
    writes_at_once,
)

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("transactional_db", "polite")]
IMMEDIATE = {"transaction_mode": "IMMEDIATE"}
WAL = {"init_command": "PRAGMA journal_mode=WAL"}


@pytest.fixture
def view(site_file: Path) -> Iterator[sqlite3.Connection]:
    """A view's transaction, as Django begins it by default: it has read, and wants to write."""
    session = sqlite3.connect(site_file, isolation_level=None, timeout=30)
    session.execute("BEGIN")
    session.execute("SELECT * FROM page").fetchall()
    yield session
    session.close()


@each_way
def test_a_view_that_has_read_writes_while_a_worker_waits_for_its_turn(
    write: Callable[[Any], None],
    session_to: Callable[..., Any],
    view: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 600.0)
    worker = session_to()
    with beside(write, worker) as (written, looks):
        wait_until(lambda: len(looks) >= 3)
        view.execute("INSERT INTO page (title) VALUES ('by the view')")
        view.execute("COMMIT")
        written.result(60)
    assert titles(worker) == {"first", "by the view", "by the worker"}


def test_a_session_that_is_made_anew_can_be_used_by_receivers_of_the_site_first(
    session_to: Callable[..., Any],
) -> None:
    seen: list[set[str]] = []

    def receive(connection: Any, **kwargs: Any) -> None:
        seen.append(titles(connection))

    connection_created.disconnect(dispatch_uid="django_bgtasks.sqlite_locking")
    connection_created.connect(receive)
    write_beside_nobody()
    try:
        worker = session_to()
        for _ in range(3):
            assert titles(worker) == {"first"}
            worker.close()
        assert seen == [{"first"}] * 3
    finally:
        connection_created.disconnect(receive)


def test_without_that_the_view_would_be_refused_at_once(
    session_to: Callable[..., Any], view: sqlite3.Connection, site_file: Path
) -> None:
    connection_created.disconnect(dispatch_uid="django_bgtasks.sqlite_locking")
    worker = session_to(timeout=60)
    with beside(writes_at_once, worker) as (written, _):
        wait_until(lambda: not can_be_read(site_file))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            view.execute("INSERT INTO page (title) VALUES ('by the view')")
        view.rollback()
        written.result(60)


def test_readers_without_end_do_not_hold_up_a_worker_for_ever(
    session_to: Callable[..., Any],
    view: sqlite3.Connection,
    site_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 0.0)
    worker = session_to(timeout=60)
    with beside(writes_at_once, worker) as (written, looks):
        # Now it keeps the lock, and nobody new comes in.
        wait_until(lambda: not can_be_read(site_file))
        view.rollback()
        written.result(60)
        assert len(looks) == 2
    assert "by the worker" in titles(worker)


def test_what_nobody_leaves_free_is_an_error_as_ever(
    session_to: Callable[..., Any], view: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 0.0)
    worker = session_to(timeout=0)
    for write in WAYS:
        with pytest.raises(OperationalError, match="locked"):
            write(worker)
        worker.connection.rollback()
    assert titles(worker) == {"first"}


def test_between_its_writes_a_worker_leaves_the_database_to_others(
    session_to: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is taken at 0.0, and given back at 0.05; at 0.06 the next one comes.
    moments, rests = chain([0.0] * 4 + [0.05, 0.06], repeat(0.1)), list[float]()
    worker = session_to()
    with worker.cursor() as cursor:
        here, monotonic = threading.current_thread(), clock.monotonic

        def moment() -> float:
            return next(moments) if threading.current_thread() is here else monotonic()

        monkeypatch.setattr(clock, "monotonic", moment)
        monkeypatch.setattr(time, "sleep", rests.append)
        cursor.execute(INSERT)
        cursor.execute("DELETE FROM page")
    assert rests == [pytest.approx(0.04)]


def test_a_worker_that_waited_for_another_one_lets_views_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_locking, "LONGEST_REST", 0.1)
    gap, seen = Gap(), list[bool]()
    free, is_read, is_written = fcntl.F_UNLCK, fcntl.F_RDLCK, fcntl.F_WRLCK
    looks = [(0.0, free), (1.0, is_written), (1.05, is_written), (1.09, free), (1.1, is_read)]
    looks += [(1.11, free), (2.0, is_written), (3.0, is_written), (3.09, free), (3.11, free)]
    for now, lock in looks:
        monkeypatch.setattr(clock, "monotonic", lambda now=now: now)
        seen.append(gap.is_over(lock))
    assert seen == [True, False, False, False, False, True, False, False, False, True]


def begins_a_transaction_in_a_task(worker: Any) -> None:
    running.set(Run(Job(task="shop.tasks.import_orders"), "default"))
    reads_and_writes(worker)


@pytest.mark.parametrize("write", [writes_at_once, begins_a_transaction_in_a_task])
def test_a_worker_looks_for_other_processes_without_a_lock(
    write: Callable[[Any], None],
    session_to: Callable[..., Any],
    site_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 600.0)
    worker = session_to()
    with view_beside(site_file) as view:
        assert tell(view, "BEGIN") == "done"
        assert tell(view, "SELECT * FROM page") == "done"
        sleeps, sleep = list[float](), time.sleep

        def note(seconds: float) -> None:
            sleeps.append(seconds)
            sleep(seconds)

        monkeypatch.setattr(time, "sleep", note)
        with beside(write, worker) as (written, looks):
            wait_until(lambda: len(sleeps) >= 20)
            assert looks == []
            assert tell(view, "UPDATE page SET title = upper(title)") == "done"
            assert tell(view, "COMMIT") == "done"
            written.result(60)
    assert titles(worker) == {"FIRST", "by the worker"}


def test_a_transaction_takes_the_database_with_its_first_statement(
    session_to: Callable[..., Any], site_file: Path
) -> None:
    worker = session_to()
    with worker.cursor() as cursor:
        cursor.execute("BEGIN")
        assert can_be_read(site_file)
        cursor.execute("SELECT 1")
        assert not can_be_read(site_file)
    worker.connection.rollback()


def test_a_statement_that_fails_leaves_nothing_behind(
    session_to: Callable[..., Any], site_file: Path
) -> None:
    worker = session_to()
    with worker.cursor() as cursor:
        for again in ("", " RETURNING id"):
            with pytest.raises(IntegrityError):
                cursor.execute(f"INSERT INTO page (title) VALUES ('new'), ('first'){again}")
            assert can_be_read(site_file)
        cursor.execute("UPDATE page SET title = 'changed'")
        assert cursor.rowcount == 1
    assert titles(worker) == {"changed"}


def test_what_a_statement_returns_is_fetched_as_from_any_cursor(
    session_to: Callable[..., Any],
) -> None:
    worker = session_to()
    with worker.cursor() as cursor:
        cursor.execute("INSERT INTO page (title) VALUES ('a'), ('b'), ('c'), ('d') RETURNING title")
        assert [name for name, *_ in cursor.description] == ["title"]
        assert cursor.fetchone() == ("a",)
        assert cursor.fetchmany() == [("b",)]
        assert cursor.fetchmany(1) == [("c",)]
        assert cursor.fetchall() == [("d",)]
        assert cursor.fetchone() is None
        cursor.execute("DELETE FROM page WHERE title > 'b' RETURNING id, title")
        assert {title for _, title in cursor} == {"c", "d", "first"}
        cursor.execute("SELECT title FROM page ORDER BY title")
        assert cursor.fetchmany(5) == [("a",), ("b",)]


@each_way
def test_a_loop_reads_on_while_its_body_writes(
    write: Callable[[Any], None], session_to: Callable[..., Any], site_file: Path
) -> None:
    worker = session_to()
    with worker.cursor() as cursor:
        values = ", ".join(f"('page {number}')" for number in range(500))
        cursor.execute(f"INSERT INTO page (title) VALUES {values}")
        cursor.execute("SELECT title FROM page ORDER BY id")
        read = cursor.fetchmany(10)
        write(worker)
        read += cursor.fetchall()
    assert [title for (title,) in read][:501] == ["first", *(f"page {n}" for n in range(500))]
    assert "by the worker" in titles(worker)


def test_a_wait_that_is_interrupted_leaves_the_session_usable(
    session_to: Callable[..., Any], view: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    worker = session_to(timeout=7)
    for write in WAYS:
        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", interrupt)
            with pytest.raises(KeyboardInterrupt):
                write(worker)
        worker.connection.rollback()
    view.rollback()
    writes_at_once(worker)
    with worker.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (7000,)
    assert titles(worker) == {"first", "by the worker"}


def test_a_worker_sees_that_the_site_has_got_write_ahead_logging(
    session_to: Callable[..., Any], site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 0.0)
    worker = session_to()
    worker.ensure_connection()
    with view_beside(site_file) as view, worker.cursor() as cursor:
        assert tell(view, "PRAGMA journal_mode=WAL") == "done"
        assert tell(view, "SELECT * FROM page") == "done"
        cursor.execute(INSERT)
        monkeypatch.setattr(sqlite_locking, "PATIENCE", 600.0)
        # For views that only stay connected it does not wait again.
        cursor.execute("DELETE FROM page")
        assert titles(worker) == set()


@pytest.mark.parametrize("options", [IMMEDIATE, WAL], ids=["immediate", "wal"])
def test_where_no_view_is_refused_all_is_as_ever(
    options: dict[str, Any], session_to: Callable[..., Any]
) -> None:
    worker = session_to(**options)
    with worker.cursor() as cursor:
        assert not isinstance(cursor.cursor, sqlite_locking.Cursor)
