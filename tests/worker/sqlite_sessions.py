"""What the tests of SQLite's locks share: what a worker writes, and who looks on."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from django_bgtasks.ledger.own_transactions import own_transactions_here

INSERT = "INSERT INTO page (title) VALUES ('by the worker')"
LOCKED = "database is locked"
TAKES = ("BEGIN EXCLUSIVE", "BEGIN IMMEDIATE")


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
