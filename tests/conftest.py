"""The session's servers, and the fixtures that every floor's tests use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import django
import pytest
import redis
from django.db import connections
from pytest_django import Settings

from testproject.servers import RedisServer

from . import session
from .selection import DATABASE, PARTS, file_is_left_out, left_out, skip_elsewhere
from .workers import WorkerFactory, WorkerProcess, environment, reap, share_fork_servers

# Here and not in a hook: conftest modules further down may import models.
session.start()
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()
# An xdist worker must not inherit it: pytest-django would read the settings there before the
# worker has servers of its own.
del os.environ["DJANGO_SETTINGS_MODULE"]

from . import empty_tables  # noqa: E402 - it imports models

empty_tables.install()


def pytest_report_header() -> str:
    """What this session runs on, at the top of its output."""
    return f"bgtasks: Python {platform.python_version()}, Django {django.__version__}, {DATABASE}"


def pytest_configure(config: pytest.Config) -> None:
    """Start what the processes of xdist share."""
    if config.getoption("numprocesses", None):
        share_fork_servers()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--part`: see tests.selection."""
    parser.addoption("--part", choices=PARTS, help="leave out what other runs have tested")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files that this run is not about."""
    return file_is_left_out(collection_path, config.getoption("--part")) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that this run is not about."""
    if out := left_out(items, config.getoption("--part")):
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that are about another database, and begin in the site's time zone: an earlier
    test may have put the session into another one, in a transaction that was rolled back.
    """
    skip_elsewhere(item)
    for connection in connections.all(initialized_only=True):
        for name in ("timezone", "timezone_name"):
            connection.__dict__.pop(name, None)
        connection.ensure_timezone()


@pytest.fixture
def redis_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A client of the session's Redis, which is empty before and after the test."""
    # A test may read there at once what it has sent, however busy the machine is.
    monkeypatch.setattr("django_bgtasks.transport.sender.CONNECT_SECONDS", 10.0)
    with redis.Redis.from_url(os.environ[RedisServer.variable]) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def own_redis(settings: Settings) -> Iterator[RedisServer]:
    """A Redis of this test's own, to flush, kill and restart; the site and its workers use it."""
    with RedisServer(private=True) as server:
        cache = {**settings.CACHES["default"], "LOCATION": server.url}
        settings.CACHES = {**settings.CACHES, "default": cache}
        yield server


@pytest.fixture
def worker_env(transactional_db: None) -> dict[str, str]:
    """The environment of a process that shall use this test's database and Redis."""
    return environment()


@pytest.fixture
def bgworker(
    transactional_db: None, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[WorkerFactory]:
    """Start real workers: `bgworker("emails", "--processes", 2)` is a WorkerProcess.

    They are gone when the test is; one that leaves a process behind fails it.
    """
    started: list[WorkerProcess] = []

    def start(
        *arguments: object,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
        fresh: bool = False,
    ) -> WorkerProcess:
        output = tmp_path / f"bgworker-{len(started)}.log"
        environ = {**environment(), **(env or {})}
        worker = WorkerProcess(arguments, env=environ, output=output, within=within, fresh=fresh)
        started.append(worker)
        return worker

    yield start
    reap(started)


@pytest.fixture(autouse=True)
def one_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are emptied between tests, and no test has workers: an id that is read anew in the
    middle of one would be another one.
    """
    monkeypatch.setattr("django_bgtasks.ledger.identity.DOUBT_EVERY", 60.0)
