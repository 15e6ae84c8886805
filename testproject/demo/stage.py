"""A directory, a Redis, a database, the site and a worker, all of which vanish at the end."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from testproject.servers import RedisServer, ServerMissing
from testproject.servers.processes import end, free_port, spawn, wait_for

PACKAGE = Path(__file__).resolve().parent.parent
MANAGE = PACKAGE / "manage.py"


class StageError(Exception):
    """Something did not start or ended too early."""


class Stage:
    """Everything that the site needs. `with Stage() as stage:` leaves nothing behind."""

    def __init__(self, *, port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.password = secrets.token_urlsafe(9)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stack = ExitStack()

    def __enter__(self) -> Stage:
        with self.stack:
            self.var = Path(self.stack.enter_context(self._directory()))
            self._redis()
            self._database()
            self._start_site()
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    def start_worker(self) -> None:
        """Start a real `manage.py bgworker` with two processes."""
        self._spawn("worker", "bgworker", "--processes", "2", "--no-reload")

    def check(self) -> None:
        """StageError, with the end of its log, if the site or the worker has gone."""
        for name, process in self.processes.items():
            if (code := process.poll()) is not None:
                raise StageError(f"the {name} ended with code {code}:\n{self.log(name)}")

    def log(self, name: str, lines: int = 20) -> str:
        """The last lines of a process's output."""
        text = (self.var / f"{name}.log").read_text(errors="replace")
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])

    def serve(self) -> None:
        """Stay until Ctrl-C, and show what the worker logs meanwhile."""
        print(f"\nThe site:  {self.url}/")
        print(f"The admin: {self.url}/admin/  (user demo, password {self.password})")
        print("Ctrl-C stops the site, its worker and its Redis, and deletes their data.")
        print("The worker logs:", flush=True)
        with (self.var / "worker.log").open(errors="replace") as log:
            log.seek(0, os.SEEK_END)
            while True:
                self.check()
                print(log.read(), end="", flush=True)
                time.sleep(0.5)

    def _directory(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="bgtasks-demo-", ignore_cleanup_errors=True)

    def _redis(self) -> None:
        try:
            self.redis = self.stack.enter_context(RedisServer())
        except ServerMissing as error:
            raise StageError(str(error)) from error

    def _database(self) -> None:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="testproject.settings",
            DJANGO_DEBUG="0",
            TESTPROJECT_VAR=str(self.var),
            TESTPROJECT_DATABASE=str(self.var / "db.sqlite3"),
            TESTPROJECT_URL=self.url,
            REDIS_URL=self.redis.url,
        )
        import django

        django.setup()
        from django.contrib.auth.models import User
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        User.objects.create_superuser("demo", "demo@example.com", self.password)

    def _start_site(self) -> None:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise StageError(
                    f"port {self.port} is in use; choose another one with --port"
                ) from error
        self._spawn("site", "runserver", "--noreload", f"127.0.0.1:{self.port}")
        if not wait_for(self._answers, timeout=30):
            raise StageError(f"the site does not answer at {self.url}:\n{self.log('site')}")

    def _answers(self) -> bool:
        self.check()
        try:
            with urllib.request.urlopen(self.url, timeout=5):
                return True
        except OSError:
            return False

    def _spawn(self, name: str, *arguments: str) -> None:
        process = spawn(
            [sys.executable, MANAGE, *arguments],
            output=self.var / f"{name}.log",
            cwd=PACKAGE.parent,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            death_signal=signal.SIGTERM,
        )
        self.processes[name] = process
        self.stack.callback(end, process, signal.SIGTERM, timeout=30)
