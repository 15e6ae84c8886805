"""On SQLite with Django's default settings no write of a worker takes the lock from a view."""

from __future__ import annotations

import fcntl
import gc
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler

from django_bgtasks.core import clock
from django_bgtasks.core.current import running
from django_bgtasks.jobs.execute import Run
from django_bgtasks.ledger import sqlite_file, sqlite_locking
from django_bgtasks.ledger.sqlite_locking import (
    Gap,
    own_transactions_here,
    write_beside_nobody,
)
from django_bgtasks.models import Job
from tests.waiting import wait_until

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("transactional_db")]
INSERT = "INSERT INTO page (title) VALUES ('by the worker')"
IMMEDIATE = {"transaction_mode": "IMMEDIATE"}
LOCKED = "database is locked"
TAKES = ("BEGIN EXCLUSIVE", "BEGIN IMMEDIATE")
WAL = {"init_command": "PRAGMA journal_mode=WAL"}


@pytest.fixture(autouse=True)
def polite() -> Iterator[None]:
    """Connections that are made in the test are like those of a worker."""
    write_beside_nobody()
    yield
    connection_created.disconnect(dispatch_uid="django_bgtasks.sqlite_locking")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one table and one row."""
    path = tmp_path / "site.sqlite3"
    with sqlite3.connect(path) as session:
        session.execute("CREATE TABLE page (id INTEGER PRIMARY KEY, title TEXT UNIQUE)")
        session.execute("INSERT INTO page (title) VALUES ('first')")
    session.close()
    return path


@pytest.fixture
def session_to(path: Path) -> Iterator[Callable[..., Any]]:
    """Makes Django's connections to it, for any thread."""
    made = []

    def session(**options: Any) -> Any:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}
        wrapper = ConnectionHandler({"default": database})["default"]
        wrapper.inc_thread_sharing()
        made.append(wrapper)
        return wrapper

    yield session
    for wrapper in made:
        wrapper.close()


@pytest.fixture
def view(path: Path) -> Iterator[sqlite3.Connection]:
    """A view's transaction, as Django begins it by default: it has read, and wants to write."""
    session = sqlite3.connect(path, isolation_level=None, timeout=30)
    session.execute("BEGIN")
    session.execute("SELECT * FROM page").fetchall()
    yield session
    session.close()


def writes_at_once(worker: Any) -> None:
    with worker.cursor() as cursor:
        cursor.execute(INSERT)


def writes_many(worker: Any) -> None:
    with worker.cursor() as cursor:
        cursor.executemany("INSERT INTO page (title) VALUES (%s)", [["by the worker"]])


def writes_and_reads_back(worker: Any) -> None:
    with worker.cursor() as cursor:
        cursor.execute(f"{INSERT} RETURNING title")
        assert cursor.fetchone() == ("by the worker",)


def reads_and_writes(worker: Any) -> None:
    with worker.cursor() as cursor:
        cursor.execute("BEGIN")
        assert cursor.execute("SELECT * FROM page").fetchall()
        cursor.execute(INSERT)
    worker.connection.commit()


def writes_in_a_savepoint(worker: Any) -> None:
    with worker.cursor() as cursor:
        cursor.execute("BEGIN DEFERRED")
        cursor.execute("SAVEPOINT inner")
        cursor.execute(INSERT)
        cursor.execute("RELEASE inner")
    worker.connection.commit()


WAYS = (writes_at_once, writes_many, writes_and_reads_back, reads_and_writes, writes_in_a_savepoint)
IN_A_TRANSACTION = (reads_and_writes, writes_in_a_savepoint)
each_way = pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)


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
    session_to: Callable[..., Any], view: sqlite3.Connection, path: Path
) -> None:
    connection_created.disconnect(dispatch_uid="django_bgtasks.sqlite_locking")
    worker = session_to(timeout=60)
    with beside(writes_at_once, worker) as (written, _):
        wait_until(lambda: not can_be_read(path))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            view.execute("INSERT INTO page (title) VALUES ('by the view')")
        view.rollback()
        written.result(60)


def test_readers_without_end_do_not_hold_up_a_worker_for_ever(
    session_to: Callable[..., Any],
    view: sqlite3.Connection,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 0.0)
    worker = session_to(timeout=60)
    with beside(writes_at_once, worker) as (written, looks):
        # Now it keeps the lock, and nobody new comes in.
        wait_until(lambda: not can_be_read(path))
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
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 600.0)
    worker = session_to()
    with view_beside(path) as view:
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
    session_to: Callable[..., Any], path: Path
) -> None:
    worker = session_to()
    with worker.cursor() as cursor:
        cursor.execute("BEGIN")
        assert can_be_read(path)
        cursor.execute("SELECT 1")
        assert not can_be_read(path)
    worker.connection.rollback()


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


each_place = pytest.mark.parametrize("begin", [in_a_job, in_a_tasks_own_thread])


@each_place
def test_a_view_that_comes_while_a_task_writes_waits_and_is_not_refused(
    begin: Callable[[Any], None],
    session_to: Callable[..., Any],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 600.0)
    worker = session_to()
    begin(worker)
    with view_beside(path, timeout=120) as view:
        assert tell(view, "BEGIN") == "done"
        assert ask(path) == LOCKED
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
    session_to: Callable[..., Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_locking, "PATIENCE", 600.0)
    worker, came = session_to(), threading.Event()
    with view_beside(path) as view:

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
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 0.1)
    worker = session_to()
    for _ in range(2):
        begin(worker)
        wait_until(lambda: ask(path) == "done")
        worker.connection.rollback()


def test_a_transaction_lets_all_in_when_it_ends(
    session_to: Callable[..., Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 600.0)
    worker = session_to()
    for end in ("rollback", "close", "commit"):
        worker.ensure_connection()
        in_a_job(worker)
        getattr(worker.connection if end != "close" else worker, end)()
        assert ask(path) == "done"
    # One that has not written ends without a commit of SQLite's.
    token = running.set(Run(Job(task="shop.tasks.import_orders"), "default"))
    with worker.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")
        assert ask(path) == LOCKED
    running.reset(token)
    worker.connection.commit()
    assert ask(path) == "done"


def test_the_locks_that_sqlite_has_are_not_lost(
    session_to: Callable[..., Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process loses all its locks on a file when it closes one descriptor of it.
    monkeypatch.setattr(sqlite_file, "LONGEST_SHUT", 0.1)
    worker, others = session_to(), [session_to() for _ in range(3)]
    in_a_job(worker)
    wait_until(lambda: ask(path) == "done")
    for other in others:
        assert titles(other) == {"first"}
        other.close()
    gc.collect()
    with view_beside(path) as view:
        assert tell(view, "SELECT * FROM page") == "done"
        assert tell(view, "UPDATE page SET title = upper(title)") == LOCKED
        worker.connection.commit()
        assert tell(view, "UPDATE page SET title = upper(title)") == "done"


def test_where_nobody_can_be_kept_out_a_task_writes_all_the_same(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    assert sqlite_file.SqliteFile(descriptor).shut()
    os.close(descriptor)


def test_a_statement_that_fails_leaves_nothing_behind(
    session_to: Callable[..., Any], path: Path
) -> None:
    worker = session_to()
    with worker.cursor() as cursor:
        for again in ("", " RETURNING id"):
            with pytest.raises(IntegrityError):
                cursor.execute(f"INSERT INTO page (title) VALUES ('new'), ('first'){again}")
            assert can_be_read(path)
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
    write: Callable[[Any], None], session_to: Callable[..., Any], path: Path
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


@pytest.mark.parametrize("in_job", [False, True])
@each_way
def test_a_task_that_is_stopped_when_it_has_the_lock_gives_it_back(
    write: Callable[[Any], None],
    in_job: bool,
    session_to: Callable[..., Any],
    path: Path,
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
    assert ask(path) == "done"
    write(worker)
    assert titles(worker) == {"first", "by the worker"}


@pytest.mark.parametrize("by_sql", [True, False], ids=["by BEGIN", "without autocommit"])
def test_a_transaction_that_a_task_began_by_itself_stays_its_own(
    by_sql: bool, session_to: Callable[..., Any], path: Path
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


@pytest.mark.parametrize("options", [IMMEDIATE, WAL], ids=["immediate", "wal"])
def test_where_no_view_is_refused_all_is_as_ever(
    options: dict[str, Any], session_to: Callable[..., Any]
) -> None:
    worker = session_to(**options)
    with worker.cursor() as cursor:
        assert not isinstance(cursor.cursor, sqlite_locking.Cursor)


def beside(write: Callable[[Any], None], worker: Any) -> Any:
    """Write in a thread; gives its future, and its looks whether it is alone."""
    return _Beside(write, worker)


class _Beside:
    def __init__(self, write: Callable[[Any], None], worker: Any) -> None:
        self._write, self._worker = write, worker
        self._pool = ThreadPoolExecutor(1, initializer=own_transactions_here)

    def __enter__(self) -> tuple[Future[None], list[str]]:
        looks: list[str] = []

        def note(statement: str) -> None:
            if statement in TAKES:
                looks.append(statement)

        self._worker.ensure_connection()
        self._worker.connection.set_trace_callback(note)
        return self._pool.submit(self._write, self._worker), looks

    def __exit__(self, *args: object) -> None:
        self._pool.shutdown()


def in_a_job_and_commit(worker: Any) -> None:
    in_a_job(worker)
    worker.connection.commit()


# Runs the statements that it reads, and says what came of each.
VIEW = """
import sqlite3, sys
view = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=float(sys.argv[2]))
for statement in sys.stdin:
    try:
        view.execute(statement).fetchall()
        print("done", flush=True)
    except sqlite3.OperationalError as error:
        print(error, flush=True)
"""


@contextmanager
def view_beside(path: Path, timeout: float = 0) -> Iterator[Any]:
    """A session of another process, which waits so many seconds for a lock."""
    command = [sys.executable, "-c", VIEW, str(path), str(timeout)]
    with Popen(command, text=True, stdin=PIPE, stdout=PIPE) as view:
        yield view
        view.communicate()


def send(view: Any, statement: str) -> None:
    view.stdin.write(f"{statement}\n")
    view.stdin.flush()


def heard_from(view: Any) -> str:
    return str(view.stdout.readline().strip())


def tell(view: Any, statement: str) -> str:
    send(view, statement)
    return heard_from(view)


def ask(path: Path) -> str:
    """What comes of a look into the database from another process just now."""
    with view_beside(path) as view:
        return tell(view, "SELECT * FROM page")


def titles(worker: Any) -> set[str]:
    with worker.cursor() as cursor:
        cursor.execute("SELECT title FROM page")
        return {title for (title,) in cursor}


def can_be_read(path: Path) -> bool:
    """Whether somebody else may begin to read just now."""
    session = sqlite3.connect(path, timeout=0)
    try:
        session.execute("SELECT * FROM page").fetchall()
    except sqlite3.OperationalError:
        return False
    finally:
        session.close()
    return True
