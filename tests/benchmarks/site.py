"""A site of its own for each measurement: fresh servers, a migrated database, a real worker."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testproject.servers import DatabaseServer, MariaDBServer, PostgresServer, RedisServer


@contextmanager
def site(database: str) -> Iterator[Path]:
    """Django is set up and migrated in here; yields a directory for files.

    database: "sqlite", "postgres" or "mysql", a MariaDB without fsync. Servers that the environment
    names are used, and emptied.
    """
    directory = Path(tempfile.mkdtemp(prefix="bgtasks-bench-"))
    servers: list[RedisServer | DatabaseServer] = [RedisServer()]
    if database == "postgres":
        servers.append(PostgresServer(durable=True))
    if database == "mysql":
        servers.append(MariaDBServer())
    try:
        for server in servers:
            os.environ[server.variable] = server.start().url
        os.environ.update(
            BGTASKS_TEST_DB=database,
            BGTASKS_TEST_DIR=str(directory),
            DJANGO_SETTINGS_MODULE="tests.settings",
        )
        _migrate()
        yield directory
    finally:
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _migrate() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, run_syncdb=True)
