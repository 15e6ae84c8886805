"""How a worker writes to an SQLite database with Django's default settings: beside nobody.

There a view's transaction begins to read, and takes the lock for writing with its first write. If
somebody else has that lock just then, one of the two must give up, and SQLite tells the view at
once: "database is locked", whatever its timeout. Whoever writes keeps the lock until all readers
are gone, that view too. So a worker takes the whole database, or nothing: it looks whether it is
alone, and if it is not, it waits without a lock. While it writes, views wait to read, which they do
within their timeout. They would not outlast a task's long transaction: after a second that one lets
them in to read, and has the lock for writing only.

A site that begins its transactions with IMMEDIATE has no such views, and with WAL nobody waits for
readers: there all is left as it is.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from ..core import clock
from ..core.current import running
from .own_transactions import here
from .sqlite_file import file_of

# The modes in which a reader is in the way of a commit.
ROLLBACK_JOURNALS = ("delete", "persist", "truncate")
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")
BEGINS = ("BEGIN", "BEGIN DEFERRED")
# Seconds between two looks. One that finds nobody and is wrong holds the lock for microseconds.
FIRST_WAIT, LAST_WAIT = 0.005, 0.02
# For so long others go first. Then no new reader is let in: a heartbeat must not wait for ever.
PATIENCE = 3.0
# The longest rest between two writes of one session, in seconds.
LONGEST_REST = 0.1


class Turn:
    """The transactions of one session: each that writes has the database for itself."""

    def __init__(self, session: sqlite3.Connection) -> None:
        self.session = session
        [self.timeout] = session.execute("PRAGMA busy_timeout").fetchone()
        self._file = file_of(session)
        # What the session had written when it began a transaction in which nothing was done yet.
        self._unused_since: int | None = None
        self._taken_at = self._used_at = 0.0

    @property
    def commits_by_itself(self) -> bool:
        """Whether a statement is a transaction of its own, and Python does not begin one either."""
        return not self.session.in_transaction and self.session.isolation_level is None

    def begun(self) -> None:
        """A transaction was begun that holds no lock before its first statement."""
        self._unused_since = self.session.total_changes

    def use(self) -> None:
        """A statement follows. With the first one a transaction takes the database."""
        since, self._unused_since = self._unused_since, None
        if not self.session.in_transaction:
            return
        self._used_at = clock.monotonic()
        if since == self.session.total_changes:
            self._begin_anew()

    def take(self) -> None:
        """Begin a transaction that has the database for itself."""
        self._begin("EXCLUSIVE", lambda: True)

    def give_back(self) -> None:
        """Commit, and leave the database to others for as long as it was taken."""
        self.session.execute("COMMIT")
        self._used_at = clock.monotonic()

    def _begin_anew(self) -> None:
        """Take the database for a transaction in which nothing was done yet."""
        is_ours = running.get() is None and getattr(here, "is_ours", False)
        try:
            # A query from before, which a loop still reads, goes on.
            self.session.execute("COMMIT")
            self.take() if is_ours else self._take_for_task()
        except BaseException:
            # For whoever began it, and rolls it back now.
            if not self.session.in_transaction:
                self.session.execute("BEGIN")
            raise

    def _take_for_task(self) -> None:
        """Begin a transaction that has the database at first, and later the lock for writing."""
        self._begin("IMMEDIATE", self._file.shut if self._file else lambda: True)

    def _begin(self, mode: str, keeps_others_out: Callable[[], bool]) -> None:
        rest = min(self._used_at - self._taken_at, LONGEST_REST)
        if (left := self._used_at + rest - clock.monotonic()) > 0:
            time.sleep(left)
        if not self._begin_when_alone(mode, keeps_others_out):
            self.session.execute(f"BEGIN {mode}")
            [journal] = self.session.execute("PRAGMA journal_mode").fetchone()
            if journal in ROLLBACK_JOURNALS:
                keeps_others_out()
            else:
                # It was changed meanwhile. Whoever has a connection has a lock then, for ever.
                self._file = None
        self._taken_at = self._used_at = clock.monotonic()

    def _begin_when_alone(self, mode: str, keeps_others_out: Callable[[], bool]) -> bool:
        deadline, longest = clock.monotonic() + PATIENCE, FIRST_WAIT
        gap = Gap()
        self.session.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    lock = self._file.lock_of_others() if self._file else fcntl.F_UNLCK
                    if gap.is_over(lock):
                        self.session.execute(f"BEGIN {mode}")
                        if keeps_others_out():
                            return True
                        # A COMMIT would be refused beside a reader, and leave the transaction open.
                        self.session.execute("ROLLBACK")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                if clock.monotonic() > deadline:
                    return False
                time.sleep(clock.rng.uniform(longest / 2, longest))
                longest = min(2 * longest, LAST_WAIT)
        finally:
            self.session.execute(f"PRAGMA busy_timeout = {self.timeout}")


class Gap:
    """The time between two transactions that write: as long as the first one was seen, for all who
    wait for it. Views look less often than workers, and would come last each time.
    """

    def __init__(self) -> None:
        self._seen_at: float | None = None
        self._ends_at = 0.0

    def is_over(self, lock: int) -> bool:
        """Whether it may be taken now that others have this lock."""
        now = clock.monotonic()
        if lock == fcntl.F_WRLCK:
            self._seen_at = now if self._seen_at is None else self._seen_at
            self._ends_at = now + min(now - self._seen_at, LONGEST_REST)
            return False
        self._seen_at = None
        return lock == fcntl.F_UNLCK and now >= self._ends_at


class Cursor(SQLiteCursorWrapper):
    """Django's cursor, which begins its transactions by a Turn."""

    def __init__(self, turn: Turn, session: sqlite3.Connection) -> None:
        super().__init__(session)
        self._turn = turn
        self._rows: Iterator[Any] | None = None

    def execute(self, query: str, params: Any = None) -> Any:
        """Execute the statement; with its results at hand, if it commits by itself."""
        self._rows = None
        return self._run(query, partial(super().execute, query, params))

    def executemany(self, query: str, param_list: Iterable[Any]) -> Any:
        self._rows = None
        return self._run(query, partial(super().executemany, query, param_list))

    def fetchone(self) -> Any:
        return super().fetchone() if self._rows is None else next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        size = self.arraysize if size is None else size
        if self._rows is None:
            return super().fetchmany(size)
        return [row for _, row in zip(range(size), self._rows, strict=False)]

    def fetchall(self) -> list[Any]:
        return super().fetchall() if self._rows is None else list(self._rows)

    def __iter__(self) -> Any:
        return super().__iter__() if self._rows is None else self._rows

    def _run(self, query: str, execute: Callable[[], Any]) -> Any:
        turn = self._turn
        if turn.session.in_transaction:
            turn.use()
            return execute()
        if not turn.commits_by_itself:
            return execute()
        text = query.lstrip()[:20].upper()
        if text.strip() in BEGINS:
            execute()
            turn.begun()
        elif text.startswith(WRITES):
            self._commit(execute)
        else:
            execute()
        return self

    def _commit(self, execute: Callable[[], Any]) -> None:
        """Execute it in a transaction of its own. What it returns is fetched before the end: it is
        not done until then.
        """
        turn = self._turn
        try:
            turn.take()
            execute()
            self._rows = iter(super().fetchall() if self.description else ())
            turn.give_back()
        except BaseException:
            turn.session.rollback()
            raise


def prepare(connection: Any) -> None:
    """For a new connection to SQLite: the worker's own transactions write beside nobody."""
    connection.__dict__.pop("create_cursor", None)
    session = connection.connection
    try:
        [mode] = session.execute("PRAGMA journal_mode").fetchone()
    except sqlite3.Error:
        # Somebody has the whole database. Half a connection would stay as it is.
        connection.close()
        raise
    if mode in ROLLBACK_JOURNALS and connection.transaction_mode in (None, "DEFERRED"):
        make, plain = partial(Cursor, Turn(session)), connection.create_cursor

        def create_cursor(name: str | None = None) -> Any:
            # A receiver that comes before this one has the next session before it is prepared.
            is_ours = connection.connection is session
            return session.cursor(factory=make) if is_ours else plain(name)

        connection.create_cursor = create_cursor
