"""Workers from a process that has loaded the site already: a start takes a tenth of the time.

`python -m tests.fork_server SOCKET` imports all that a worker needs, once. For each connection it
forks a worker that becomes `manage.py bgworker` with its own arguments, environment, session and
output, from the same code on: `execute_from_command_line()`.

A worker whose environment differs in more than FREE from that of the test session is started in
the usual way, as are those with settings, a directory or a network of their own.

The processes of xdist share the servers that their controller starts. A server loads the site when
it is asked for its first worker.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import django
from django.apps import apps

from testproject.servers.processes import spawn, wait_for

ROOT = Path(__file__).parents[1]
# Read while a process runs, or by those settings that are made anew after the fork.
FREE = {
    *("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"),
    *("BGTASKS_TEST_DIR", "BGTASKS_TEST_STARTED", "BGTASKS_TEST_FORK_SERVERS", "COLUMNS", "LINES"),
    *("BGTASKS_TEST_WORKER", "BGTASKS_TEST_EFFECTS", "BGTASKS_TEST_STRIKE", "PYTEST_CURRENT_TEST"),
    *("BGTASKS_TEST_OPTIONS", "BGTASKS_TEST_REDIS_URL", "BGTASKS_TEST_CACHE_OPTIONS"),
    *("BGTASKS_TEST_DB_NAME", "BGTASKS_TEST_DB_OPTIONS", "BGTASKS_TEST_ISOLATION"),
    *("BGTASKS_TEST_POSTGRES_URL", "BGTASKS_TEST_MYSQL_URL"),
}
# By the first query and the first connection to Redis; the last one by make_settings_anew().
IMPORTED_LATER = ("django.db.models.sql.compiler", "encodings.idna", "django.test.signals")
MADE_ANEW = ("TASKS", "CACHES", "DIR", "MEDIA_ROOT")
# The directory of the servers that the processes of xdist share.
SHARED = "BGTASKS_TEST_FORK_SERVERS"
PR_SET_PDEATHSIG = 1


class ForkedProcess:
    """A worker of the fork server, with what `subprocess.Popen` has."""

    def __init__(self, connected: socket.socket, arguments: Sequence[str]) -> None:
        self.args = arguments
        self._connected = connected
        if not (pid := read_line(connected)):
            raise RuntimeError("The fork server has ended: what it printed is in `log` beside it.")
        self.pid = int(pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        with suppress(TimeoutError, BlockingIOError, subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""
        if self.returncode is None:
            self._connected.settimeout(timeout)
            try:
                data = self._connected.recv(100)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            # The server itself has ended, and its workers with it.
            self.returncode = int(data) if data else -signal.SIGKILL
            self._connected.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A fork server of the session, started with the first of its workers or by `share()`."""

    def __init__(self, settings: str) -> None:
        self.settings = settings
        self.environ: dict[str, str] = {}
        self.address = ""

    def fork(self, arguments: Sequence[str], env: Mapping[str, str], output: Path) -> ForkedProcess:
        """A worker with this environment, which `takes()` has allowed."""
        output.touch()
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(self.address)
        wanted = {"arguments": list(arguments), "env": dict(env), "output": str(output)}
        connected.sendall(json.dumps(wanted).encode() + b"\n")
        return ForkedProcess(connected, arguments)

    def takes(self, env: Mapping[str, str], usual: Mapping[str, str]) -> bool:
        """Whether a worker with this environment can be forked; starts the server if need be.

        usual: the environment of a worker that a test gives nothing of its own.
        """
        if sys.platform != "linux":
            return False
        if not self.address:
            self._start(usual)
        return fixed(env) == self.environ

    def share(self, directory: Path, env: Mapping[str, str]) -> None:
        """Start it for other processes, which find it in this directory."""
        shared = directory / self.settings
        shared.mkdir()
        (shared / "environ").write_text(json.dumps(fixed(env)))
        self._spawn(shared, env)

    def _start(self, env: Mapping[str, str]) -> None:
        if directory := env.get(SHARED):
            shared = Path(directory) / self.settings
            self.environ = json.loads((shared / "environ").read_text())
            self.address = str(shared / "socket")
        else:
            own = Path(tempfile.mkdtemp(prefix="bgtasks-fork-", dir=env["BGTASKS_TEST_DIR"]))
            self.environ = fixed(env)
            self._spawn(own, env)

    def _spawn(self, directory: Path, env: Mapping[str, str]) -> None:
        self.address, log = str(directory / "socket"), directory / "log"
        command = [sys.executable, "-m", "tests.fork_server", self.address]
        server = spawn(command, output=log, cwd=ROOT, env=env)
        listens = Path(self.address).exists
        if (
            not wait_for(lambda: listens() or server.poll() is not None, timeout=60)
            or not listens()
        ):
            raise RuntimeError(f"The fork server did not start:\n{log.read_text()}")


def read_line(connected: socket.socket) -> bytes:
    """One line, and nothing of what comes behind it."""
    line = b""
    while (byte := connected.recv(1)) not in {b"\n", b""}:
        line += byte
    return line


def fixed(env: Mapping[str, str]) -> dict[str, str]:
    """What has to be the same in each worker of one fork server."""
    return {name: value for name, value in env.items() if name not in FREE}


def serve(address: str) -> None:
    """Load the site once it is asked, and fork; returns in the forked workers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(100)
    Path(f"{address}.new").rename(address)
    # Nobody waits for the processes that wait for the workers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = os.getpid()
    while True:
        connected, _ = listener.accept()
        if not apps.ready:
            load()
            gc.freeze()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            die_with(server)
            return forked(connected)
        connected.close()


def load() -> None:
    """Import what a worker imports; nothing is asked and no connection opened."""
    from django.core.checks import run_checks
    from django.core.management import get_commands, load_command_class
    from django.db.migrations.loader import MigrationLoader
    from django.utils.module_loading import autodiscover_modules

    django.setup()
    load_command_class(get_commands()["bgworker"], "bgworker")
    MigrationLoader(None)
    autodiscover_modules("tasks")
    # Each worker checks its site first: it imports the pages, the template tags and the cache.
    run_checks()
    for name in IMPORTED_LATER:
        importlib.import_module(name)


def forked(connected: socket.socket) -> None:
    """Fork the worker once more, and tell how it ended; returns in the worker."""
    wanted = json.loads(read_line(connected))
    waiting = os.getpid()
    if (pid := os.fork()) == 0:
        connected.close()
        die_with(waiting)
        return become(**wanted)
    connected.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        connected.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(arguments: Sequence[str], env: Mapping[str, str], output: str) -> None:
    """Be as a process that was started with this environment and output."""
    os.setsid()
    for name in os.environ.keys() - env.keys():
        del os.environ[name]
    os.environ.update(env)
    nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_APPEND)
    for number, file in enumerate((nothing, written, written)):
        os.dup2(file, number)
    os.close(nothing)
    os.close(written)
    make_settings_anew()
    sys.argv[:] = [str(Path(django.__file__).with_name("__main__.py")), "bgworker", *arguments]


def make_settings_anew() -> None:
    """Those that depend on the environment of one test; no connection has read them yet."""
    import django.test.signals  # noqa: F401 - makes the backends of caches and tasks anew
    from django.conf import settings
    from django.core.signals import setting_changed
    from django.db import connections

    from django_bgtasks.core.options import default_backend
    from django_bgtasks.jobs.task import ensure_backend

    made: Any = importlib.reload(importlib.import_module("tests.settings"))
    for name in MADE_ANEW:
        value = getattr(made, name)
        setattr(settings, name, value)
        setting_changed.send(sender=None, setting=name, value=value, enter=True)
    ensure_backend(default_backend())
    # Objects that stand for connections which nobody has opened yet.
    settings.DATABASES = made.DATABASES
    for name in connections.settings:
        with suppress(AttributeError):
            del connections[name]
    connections.settings = connections.configure_settings(made.DATABASES)


def die_with(parent: int) -> None:
    """Be killed when the parent is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Serve; a forked worker comes back from it, and works."""
    from django.core.management import execute_from_command_line

    serve(sys.argv[1])
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
