"""Hosts of their own: network namespaces with cables to this one, which a test can pull.

A cable is a pair of virtual interfaces. When its near end is down, the far host sees what it sees
when a switch dies: its packets get no answer, and nobody tells it why.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from testproject.servers import PostgresServer
from tests.waiting import wait_until

from .proxy import Address, Proxy

PREFIX = "bgt"
IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""
NET_ADMIN, SYS_ADMIN = 1 << 12, 1 << 21
# These addresses are for test networks. Each cable is a network of 4 of them.
TEST_NETWORK = ip_network("198.18.0.0/15")
CABLES = TEST_NETWORK.num_addresses // 4
FAR_ENDS = "database", "redis"


def _may_make_namespaces() -> bool:
    """Whether this process has root's rights, which a container may lack for its root too."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                rights = int(line.split()[1], 16)
                return bool(rights & NET_ADMIN and rights & SYS_ADMIN)
    return False


needs_namespaces = pytest.mark.skipif(
    not _may_make_namespaces(), reason="needs root, with the right to make namespaces"
)
needs_hosts = [
    needs_namespaces,
    pytest.mark.skipif(not IP, reason="needs iproute2, the command ip"),
]


def ip(*arguments: object) -> str:
    """What `ip` prints; subprocess.CalledProcessError, with what it complains of, if it fails."""
    command = [IP, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Cable:
    """A network of two: an interface here and one in the host, which is named by what it serves."""

    number: int
    far: str

    @property
    def near(self) -> str:
        """The interface on this side."""
        return f"{PREFIX}{self.number}"

    def address(self, which: int) -> str:
        """0 is the network, 1 this side, 2 the host."""
        return str(TEST_NETWORK[self.number * 4 + which])

    def pull(self) -> None:
        """Nothing passes any more, in both directions."""
        ip("link", "set", self.near, "down")

    def plug(self) -> None:
        """It is as before."""
        ip("link", "set", self.near, "up")


@dataclass
class Host:
    """A network namespace. database, redis: its cables, each with a server at the near end."""

    name: str
    database: Cable
    redis: Cable
    env: dict[str, str] = field(default_factory=dict)

    @property
    def within(self) -> tuple[str, ...]:
        """The command that runs another one on this host."""
        return (IP, "netns", "exec", self.name)

    def sessions(self) -> set[int]:
        """The processes of the database that serve this host, or did when its cable was pulled."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [self.name]
            )
            return {pid for (pid,) in cursor.fetchall()}

    def end_sessions(self, pids: set[int], patience: float = 15.0) -> None:
        """Wait until these have ended; after `patience` seconds as an administrator does.

        What the host had sent has arrived by then, or never will: a kernel gives up, and without
        keepalives the database does not learn of it.
        """
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not pids & self.sessions(), patience)
        with connection.cursor() as cursor:
            for pid in pids & self.sessions():
                cursor.execute("SELECT pg_terminate_backend(%s)", [pid])

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Within it, all cables are pulled. They must not stay so: the end of the test would wait
        for the locks that this host has left behind."""
        self.database.pull()
        self.redis.pull()
        try:
            yield
        finally:
            self.database.plug()
            self.redis.plug()


_numbers = itertools.count()


@contextlib.contextmanager
def new_host() -> Iterator[Host]:
    """A host with two cables; on their near ends it finds the database and Redis of the session."""
    with contextlib.ExitStack() as stack:
        name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        ip("netns", "add", name)
        stack.callback(ip, "netns", "delete", name)
        database, queue = (stack.enter_context(_cable(name, far)) for far in FAR_ENDS)
        host = Host(name, database, queue)
        postgres = stack.enter_context(Proxy(database_address(), host.database.address(1)))
        redis = stack.enter_context(Proxy(redis_address(), host.redis.address(1)))
        host.env = {
            "PGAPPNAME": name,
            "BGTASKS_TEST_POSTGRES_URL": f"postgresql://{login()}@{postgres.host}:{postgres.port}/",
            "BGTASKS_TEST_REDIS_URL": f"redis://{redis.host}:{redis.port}/0",
        }
        yield host


@contextlib.contextmanager
def _cable(name: str, far: str) -> Iterator[Cable]:
    cable = _free_cable(name, far)
    network = f"{cable.address(0)}/30"
    try:
        ip("address", "add", f"{cable.address(1)}/30", "dev", cable.near)
        ip("link", "set", cable.near, "up")
        ip("-n", name, "address", "add", f"{cable.address(2)}/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        # While the cable is pulled, what is sent must not take the way to the internet.
        ip("route", "add", "blackhole", network, "metric", 1000)
        yield cable
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("route", "delete", "blackhole", network, "metric", 1000)
        # Both ends go together.
        ip("link", "delete", cable.near)


def _free_cable(name: str, far: str) -> Cable:
    """The first cable that no other process has, which the name of its near end decides."""
    for step in range(CABLES):
        cable = Cable((os.getpid() * 16 + step) % CABLES, far)
        peer = ("peer", "name", far, "netns", name)
        try:
            ip("link", "add", cable.near, "type", "veth", *peer)
        except subprocess.CalledProcessError as error:
            if "File exists" not in error.stderr:
                raise
        else:
            return cable
    raise RuntimeError("All test networks are in use.")


@contextlib.contextmanager
def reachable_postgres(hosts: Sequence[Host]) -> Iterator[PostgresServer]:
    """A PostgreSQL of its own that listens at the near ends of these hosts' cables."""
    addresses = [host.database.address(1) for host in hosts]
    config = {"listen_addresses": ",".join(addresses)}
    with PostgresServer(private=True, config=config) as server:
        with (server.home / "data" / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {TEST_NETWORK} trust\n")
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("SELECT pg_reload_conf()")
        for host, address in zip(hosts, addresses, strict=True):
            host.env["BGTASKS_TEST_POSTGRES_URL"] = f"postgresql://postgres@{address}/"
        yield server


@contextlib.contextmanager
def used_by_this_site(server: PostgresServer) -> Iterator[None]:
    """Within it, the site's default database is an empty one on this server."""
    current, session = connection.settings_dict, dict(connection.settings_dict)
    connection.close()
    current.update(server.settings)
    try:
        call_command("migrate", run_syncdb=True, verbosity=0)
        yield
    finally:
        connection.close()
        current.update(session)


def sweep() -> None:
    """Remove what processes left that were killed before they could do so."""
    for line in ip("netns", "list").splitlines():
        prefix, _, rest = line.split()[0].partition("-")
        pid = rest.partition("-")[0]
        if prefix == PREFIX and pid.isdecimal() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", line.split()[0])
    for line in ip("route", "show", "type", "blackhole", "root", TEST_NETWORK).splitlines():
        network = line.split()[1]
        start = int(ip_address(network.partition("/")[0])) - int(TEST_NETWORK[0])
        # A route goes before its cable does.
        if not Path(f"/sys/class/net/{PREFIX}{start // 4}").exists():
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("route", "delete", "blackhole", network, "metric", 1000)


def database_address() -> Address:
    """Where the session's PostgreSQL listens."""
    database: dict[str, Any] = settings.DATABASES["default"]
    port = int(database["PORT"] or 5432)
    host = str(database["HOST"])
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host or "127.0.0.1", port)


def login() -> str:
    """The name, and the password if there is one, for the session's PostgreSQL."""
    database: dict[str, Any] = settings.DATABASES["default"]
    return ":".join(quote(str(database[key]), safe="") for key in ("USER", "PASSWORD")).rstrip(":")


def redis_address() -> Address:
    """Where the session's Redis listens."""
    parts = urlsplit(str(settings.CACHES["default"]["LOCATION"]))
    return parts.hostname or "127.0.0.1", parts.port or 6379
