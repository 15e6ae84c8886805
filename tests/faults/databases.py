"""What the cases about the database share: servers of their own, held rows, ended connections."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import psycopg
from django.db import connection, transaction

from django_bgtasks.models import Job
from testproject.servers import PostgresServer, ServerMissing
from tests.waiting import wait_until

from .hosts import database_address, login, used_by_this_site
from .proxy import Proxy

OTHERS = (
    "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
TRY_SECONDS = 20.0


def with_options(**options: Any) -> dict[str, str]:
    """The environment of a worker whose database has more OPTIONS."""
    return {"BGTASKS_TEST_DB_OPTIONS": json.dumps(options)}


def with_server_settings(**values: object) -> dict[str, str]:
    """The environment of a worker whose sessions have these settings of PostgreSQL."""
    return with_options(options=" ".join(f"-c {name}={value}" for name, value in values.items()))


def to(url: str) -> dict[str, str]:
    """The environment of a worker whose PostgreSQL is at this address."""
    return {"BGTASKS_TEST_POSTGRES_URL": url}


@contextlib.contextmanager
def private_postgres(config: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A PostgreSQL to restart and to kill, used by this site; its workers get `to(server.url)`."""
    with PostgresServer(private=True, config=config) as server, used_by_this_site(server):
        yield server


@contextlib.contextmanager
def postgres_behind_a_proxy() -> Iterator[tuple[Proxy, dict[str, str]]]:
    """A proxy before the session's PostgreSQL, and the environment of a worker that uses it."""
    with Proxy(database_address()) as proxy:
        yield proxy, to(f"postgresql://{login()}@{proxy.host}:{proxy.port}/")


def end_backends(but: Sequence[int] = ()) -> int:
    """pg_terminate_backend for all connections but this one and those; how many there were."""
    count = "count(pg_terminate_backend(pid))"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {count} FROM pg_stat_activity WHERE {OTHERS} AND NOT pid = ANY(%s)",
            [list(but)],
        )
        return int(cursor.fetchone()[0])


def waits_for_lock() -> bool:
    """Whether another connection waits for a row."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM pg_stat_activity WHERE {OTHERS} AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


@contextlib.contextmanager
def row_locked(result: Any) -> Iterator[None]:
    """Within it, the job's row is locked by this test."""
    with transaction.atomic():
        Job.objects.select_for_update().get(pk=result.id)
        yield


def away(server: PostgresServer, seconds: float = 0.0, *, politely: bool = False) -> None:
    """SIGKILL to the server, or a polite stop, and its start after so many seconds."""
    server._end(server.polite_signal) if politely else server.kill()
    connection.close()
    time.sleep(seconds)
    start_again(server)


def start_again(server: PostgresServer) -> None:
    """Start a server whose postmaster was killed: its processes take a moment to go."""

    def started() -> bool:
        with contextlib.suppress(ServerMissing):
            server.start()
            return True
        return False

    wait_until(started, TRY_SECONDS, "PostgreSQL runs again")


class Hog:
    """Within it, all connections of a server but this test's are in these hands."""

    def __init__(self, server: PostgresServer) -> None:
        self._url = server.url
        self._connections: list[psycopg.Connection[Any]] = []

    def __enter__(self) -> Self:
        wait_until(self._has_all, TRY_SECONDS, "all connections are taken")
        return self

    def __exit__(self, *error: object) -> None:
        for session in self._connections:
            session.close()

    def _has_all(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                self._connections.append(psycopg.connect(self._url, connect_timeout=2))
        return not end_backends([session.info.backend_pid for session in self._connections])


@contextlib.contextmanager
def in_thread(target: Any) -> Iterator[None]:
    """Run `target` beside the block, which must not end before it."""
    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
        assert not thread.is_alive()
