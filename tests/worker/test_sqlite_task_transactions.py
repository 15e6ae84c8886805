"""On SQLite with Django's default settings a task's own transaction lets views in without harm."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from django_bgtasks.core import clock
from django_bgtasks.core.current import running
from django_bgtasks.jobs.execute import Run
from django_bgtasks.ledger import sqlite_file, sqlite_locking
from django_bgtasks.models import Job
from tests.waiting import wait_until

from .sqlite_sessions import (
    IN_A_TRANSACTION,
    INSERT,
    LOCKED,
    TAKES,
    ask,
    each_way,
    heard_from,
    send,
    tell,
    titles,
    view_beside,
)

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("transactional_db", "polite")]


def of_a_task(worker: Any) -> None:
    with worker.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(INSERT)


def in_a_job(worker: Any) -> None:
    token = running.set(Run(Job(task="shop.tasks.import_orders"), "default"))
    try:
        of_a_task(worker)
    finally:
        running.reset(token)


def in_a_tasks_own_thread(worker: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(of_a_task, worker).result(60)


def in_a_job_and_commit(worker: Any) -> None:
    in_a_job(worker)
    worker.connection.commit()


each_place = pytest.mark.parametrize("begin", [in_a_job, in_a_tasks_own_thread])


@each_place
def test_a_view_that_comes_while_a_task_writes_waits_and_is_not_refused(
    begin: Callable[[Any], None],
    session_to: Callable[..., Any],
    site_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 600.0)
    worker = session_to()
    begin(worker)
    with view_beside(site_file, timeout=120) as view:
        assert tell(view, "BEGIN") == "done"
        assert ask(site_file) == LOCKED
        send(view, "SELECT * FROM page")
        worker.connection.commit()
        assert heard_from(view) == "done"
        with ThreadPoolExecutor(1) as pool:
            monkeypatch.setattr(sqlite_locking, "PATIENCE", 600.0)
            written = pool.submit(in_a_job_and_commit, worker)
            assert tell(view, "UPDATE page SET title = upper(title)") == "done"
            assert tell(view, "COMMIT") == "done"
            written.result(60)
    assert titles(worker) == {"FIRST", "BY THE WORKER", "by the worker"}


def test_a_view_that_comes_just_before_a_tasks_transaction_goes_first(
    session_to: Callable[..., Any], site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 600.0)
    worker, came = session_to(), threading.Event()
    with view_beside(site_file) as view:

        def come(statement: str) -> None:
            # The worker has found nobody, and has no lock yet.
            if statement == "BEGIN IMMEDIATE" and not came.is_set():
                assert tell(view, "BEGIN") == tell(view, "SELECT * FROM page") == "done"
                came.set()

        with worker.cursor() as cursor:
            cursor.execute("INSERT INTO page (title) VALUES ('second'), ('third')")
            cursor.execute("SELECT title FROM page ORDER BY id")
            first = cursor.fetchone()
            worker.connection.set_trace_callback(come)
            with ThreadPoolExecutor(1) as pool:
                written = pool.submit(in_a_job_and_commit, worker)
                assert came.wait(60)
                try:
                    wait_until(lambda: tell(view, "DELETE FROM page") == "done")
                finally:
                    tell(view, "ROLLBACK")
                    written.result(60)
            assert [first, *cursor.fetchall()][:3] == [("first",), ("second",), ("third",)]
    assert titles(worker) == {"first", "second", "third", "by the worker"}


@each_place
def test_the_long_transaction_of_a_task_lets_readers_in(
    begin: Callable[[Any], None],
    session_to: Callable[..., Any],
    site_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 0.1)
    worker = session_to()
    for _ in range(2):
        begin(worker)
        wait_until(lambda: ask(site_file) == "done")
        worker.connection.rollback()


def test_a_transaction_lets_all_in_when_it_ends(
    session_to: Callable[..., Any], site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 600.0)
    worker = session_to()
    for end in ("rollback", "close", "commit"):
        worker.ensure_connection()
        in_a_job(worker)
        getattr(worker.connection if end != "close" else worker, end)()
        assert ask(site_file) == "done"
    # One that has not written ends without a commit of SQLite's.
    token = running.set(Run(Job(task="shop.tasks.import_orders"), "default"))
    with worker.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")
        assert ask(site_file) == LOCKED
    running.reset(token)
    worker.connection.commit()
    assert ask(site_file) == "done"


def test_the_locks_that_sqlite_has_are_not_lost(
    session_to: Callable[..., Any], site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process loses all its locks on a file when it closes one descriptor of it.
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 0.1)
    worker, others = session_to(), [session_to() for _ in range(3)]
    in_a_job(worker)
    wait_until(lambda: ask(site_file) == "done")
    for other in others:
        assert titles(other) == {"first"}
        other.close()
    gc.collect()
    with view_beside(site_file) as view:
        assert tell(view, "SELECT * FROM page") == "done"
        assert tell(view, "UPDATE page SET title = upper(title)") == LOCKED
        worker.connection.commit()
        assert tell(view, "UPDATE page SET title = upper(title)") == "done"


def test_where_nobody_can_be_kept_out_a_task_writes_all_the_same(site_file: Path) -> None:
    descriptor = os.open(site_file, os.O_RDONLY)
    assert sqlite_file.SqliteFile(descriptor).shut()
    os.close(descriptor)


@pytest.mark.parametrize("in_job", [False, True])
@each_way
def test_a_task_that_is_stopped_when_it_has_the_lock_gives_it_back(
    write: Callable[[Any], None],
    in_job: bool,
    session_to: Callable[..., Any],
    site_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, begun, monotonic = session_to(), list[str](), clock.monotonic
    worker.ensure_connection()
    worker.connection.set_trace_callback(
        lambda statement: begun.append(statement) if statement in TAKES else None
    )

    def stop_when_begun() -> float:
        # As its timeout does, between any two lines.
        if begun:
            begun.clear()
            raise KeyboardInterrupt
        return monotonic()

    token = running.set(Run(Job(task="shop.tasks.import_orders"), "default") if in_job else None)
    monkeypatch.setattr(clock, "monotonic", stop_when_begun)
    with pytest.raises(KeyboardInterrupt):
        write(worker)
    running.reset(token)
    worker.connection.set_trace_callback(None)
    assert worker.connection.in_transaction == (write in IN_A_TRANSACTION)
    worker.connection.rollback()
    assert ask(site_file) == "done"
    write(worker)
    assert titles(worker) == {"first", "by the worker"}


@pytest.mark.parametrize("by_sql", [True, False], ids=["by BEGIN", "without autocommit"])
def test_a_transaction_that_a_task_began_by_itself_stays_its_own(
    by_sql: bool, session_to: Callable[..., Any], site_file: Path
) -> None:
    worker = session_to()
    worker.ensure_connection()
    with worker.cursor() as cursor:
        if by_sql:
            # One that was begun and not used comes before.
            cursor.execute("BEGIN")
            worker.connection.commit()
            worker.connection.execute("BEGIN IMMEDIATE")
            worker.connection.execute("INSERT INTO page (title) VALUES ('a')")
        else:
            worker.set_autocommit(False)
            cursor.execute("INSERT INTO page (title) VALUES ('a')")
        cursor.execute(INSERT)
        assert worker.connection.in_transaction
        worker.connection.rollback()
    assert titles(worker) == {"first"}
