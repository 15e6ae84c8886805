"""Another site beside that of the test: the same code, a database of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connection

from django_bgtasks.models import Job, Ledger

from .workers import ROOT, environment


class Site:
    """A site whose database has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.env = {**environment(), "BGTASKS_TEST_DB_NAME": name}

    def python(self, code: str) -> Any:
        """Run code in a process of this site, with `tasks`; what it prints, read as JSON."""
        before = "import django, json; django.setup(); from tests.worker import tasks\n"
        return json.loads(self._run("-c", before + code, check=True) or "null")

    def manage(self, *arguments: str) -> str:
        """Run a management command, however it ends; what it prints."""
        return self._run("-m", "django", *arguments)

    def states(self) -> Counter[str]:
        """How many jobs are in which state."""
        with self.opened():
            return Counter(Job.objects.values_list("state", flat=True))

    def ledger(self) -> Ledger:
        """Who it says that it is."""
        with self.opened():
            return Ledger.objects.get()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Within it, this test's connection is one to the site's database."""
        own = connection.settings_dict["NAME"]
        connection.close()
        connection.settings_dict["NAME"] = self.name
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = own

    def _run(self, *arguments: str, check: bool = False) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stdout + done.stderr


@contextlib.contextmanager
def another_site() -> Iterator[Site]:
    """A new site, with empty tables."""
    with _database() as made:
        site = Site(made)
        if connection.vendor == "mysql":
            _administer(f"CREATE DATABASE `{made}` CHARACTER SET utf8mb4")
            site.manage("migrate", "-v0")
        else:
            _copy(made)
            site.manage("flush", "--noinput", "-v0")
        yield site


@contextlib.contextmanager
def empty_database() -> Iterator[str]:
    """A new database without tables; its name."""
    with _database() as made:
        if connection.vendor != "sqlite":
            _administer(f"CREATE DATABASE {connection.ops.quote_name(made)}")
        yield made


@contextlib.contextmanager
def copied_site() -> Iterator[Site]:
    """A site whose database is a copy of the test's, with all rows, as of now."""
    with _database() as made:
        _copy(made)
        yield Site(made)


@contextlib.contextmanager
def _database() -> Iterator[str]:
    made = f"{connection.settings_dict['NAME']}_{uuid.uuid4().hex[:8]}"
    try:
        yield made
    finally:
        if connection.vendor == "sqlite":
            for path in (made, f"{made}-wal", f"{made}-shm"):
                Path(path).unlink(missing_ok=True)
        else:
            connection.close()
            force = " WITH (FORCE)" if connection.vendor == "postgresql" else ""
            _administer(f"DROP DATABASE {connection.ops.quote_name(made)}{force}")


def _copy(made: str) -> None:
    original = connection.settings_dict["NAME"]
    # PostgreSQL takes no template that is in use.
    connection.close()
    if connection.vendor == "sqlite":
        shutil.copy(original, made)
    else:
        _administer(f'CREATE DATABASE "{made}" TEMPLATE "{original}"')


def _administer(statement: str) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute(statement)
