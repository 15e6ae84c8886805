"""What the tests of real workers share."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler

from django_bgtasks.ledger.own_transactions import write_beside_nobody

# A worker that is called dead soon. The defaults are 3 s and 10 s.
QUICK = {"BGTASKS_TEST_OPTIONS": json.dumps({"beat_every": 0.5, "dead_after": 1.5})}


class Effects:
    """What the tasks really did, told outside of the database, and the gate that holds one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def entries(self) -> list[tuple[str, int]]:
        """Text and process id of each effect, in order."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines()
        return [(text, int(pid)) for text, _, pid in (line.rpartition(" ") for line in lines)]

    @property
    def texts(self) -> list[str]:
        """The effects in order."""
        return [text for text, _ in self.entries]

    @property
    def pids(self) -> list[int]:
        """The processes that had them."""
        return [pid for _, pid in self.entries]

    def open_gate(self) -> None:
        """Let wait_at_gate() through."""
        Path(f"{self.path}.gate").touch()


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    """The effects of this test's tasks."""
    return Effects(tmp_path / "effects.log")


@pytest.fixture
def polite() -> Iterator[None]:
    """Connections that are made in the test are like those of a worker."""
    write_beside_nobody()
    yield
    connection_created.disconnect(dispatch_uid="django_bgtasks.sqlite_locking")


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A database with one table and one row."""
    site_file = tmp_path / "site.sqlite3"
    with sqlite3.connect(site_file) as session:
        session.execute("CREATE TABLE page (id INTEGER PRIMARY KEY, title TEXT UNIQUE)")
        session.execute("INSERT INTO page (title) VALUES ('first')")
    session.close()
    return site_file


@pytest.fixture
def session_to(site_file: Path) -> Iterator[Callable[..., Any]]:
    """Makes Django's connections to it, for any thread."""
    made = []

    def session(**options: Any) -> Any:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": site_file, "OPTIONS": options}
        wrapper = ConnectionHandler({"default": database})["default"]
        wrapper.inc_thread_sharing()
        made.append(wrapper)
        return wrapper

    yield session
    for wrapper in made:
        wrapper.close()
