"""A real `manage.py bgworker` in a process of its own, under a test's control."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil
import pytest
from django.conf import settings
from django.db import connection

from testproject.servers.processes import end, spawn

from .fork_server import SHARED, ForkedProcess, ForkServer
from .waiting import wait_until

ROOT = Path(__file__).parents[1]
SETTINGS = "DJANGO_SETTINGS_MODULE"
TOKEN = "BGTASKS_TEST_WORKER"
# By the settings of their workers.
FORK_SERVERS = {name: ForkServer(name) for name in ("tests.settings", "tests.faults.armed")}


class WorkerFactory(Protocol):
    """What the fixture `bgworker` gives."""

    def __call__(
        self,
        *arguments: object,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
        fresh: bool = False,
    ) -> WorkerProcess: ...


class WorkerProcess:
    """One running `bgworker` with all the processes it started.

    within: a command that runs another one elsewhere, such as `ip netns exec NAME`.
    fresh: it is started by `python -m django`, and not forked where that is the same to the worker
    (see tests.fork_server): for what is about its start.
    """

    process: subprocess.Popen[bytes] | ForkedProcess

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        env: Mapping[str, str],
        output: Path,
        within: Sequence[str] = (),
        fresh: bool = True,
    ) -> None:
        self.token = uuid.uuid4().hex
        self.log = output
        args, environ = [str(argument) for argument in arguments], {**env, TOKEN: self.token}
        usual = {**environment(), SETTINGS: environ[SETTINGS]}
        server = FORK_SERVERS.get(environ[SETTINGS])
        if server and not (fresh or within or "--reload" in args) and server.takes(environ, usual):
            self.process = server.fork(args, environ, output)
        else:
            command = [*within, sys.executable, "-m", "django", "bgworker", *args]
            self.process = spawn(command, output=output, cwd=ROOT, env=environ)

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """The supervisor's exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str | re.Pattern[str], timeout: float = 20.0) -> re.Match[str]:
        """Wait until its output holds this text or matches this pattern; returns the match."""
        pattern = re.compile(re.escape(text)) if isinstance(text, str) else text

        def printed() -> re.Match[str] | None:
            ended = self.returncode
            found = pattern.search(self.output)
            if found is None and ended is not None:
                raise AssertionError(f"bgworker ended ({ended}) without {text!r}:\n{self.output}")
            return found

        found = wait_until(printed, timeout, f"{text!r} in the output of bgworker")
        assert found is not None
        return found

    def wait(self, timeout: float = 30.0) -> int:
        """Wait until it ends by itself, as with --burst; returns its exit code."""
        return self.process.wait(timeout)

    def send(self, sig: signal.Signals) -> None:
        """A signal to the supervisor alone."""
        self.process.send_signal(sig)

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM to the supervisor; returns its exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once, as when the power fails."""
        self.process.kill()
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def family(self) -> list[psutil.Process]:
        """Its living processes: the supervisor and all that descend from it."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # A fork keeps the session, and what a task starts in another one inherits the token.
            return os.getsid(process.pid) == self.pid or process.environ().get(TOKEN) == self.token
        return False


def environment() -> dict[str, str]:
    """What a process needs to know to use the database and the Redis of the current test."""
    return {
        **os.environ,
        SETTINGS: "tests.settings",
        "BGTASKS_TEST_DB_NAME": str(connection.settings_dict["NAME"]),
        "BGTASKS_TEST_REDIS_URL": str(settings.CACHES["default"]["LOCATION"]),
        "PYTHONUNBUFFERED": "1",
    }


def share_fork_servers() -> None:
    """Start them here, for the processes of xdist that this one is about to start."""
    directory = Path(tempfile.mkdtemp(prefix="bgtasks-forks-", dir=os.environ["BGTASKS_TEST_DIR"]))
    for name, server in FORK_SERVERS.items():
        server.share(directory, {**environment(), SETTINGS: name})
    os.environ[SHARED] = str(directory)


def reap(workers: Sequence[WorkerProcess]) -> None:
    """End all workers; fail the test if one of them left a process behind.

    A polite stop takes a second, which the tests about it take: here the supervisor is killed, and
    its children have to go with it.
    """
    left = [name for worker in workers for name in _bury(worker)]
    if left:
        pytest.fail(f"bgworker left processes behind: {', '.join(left)}")


def _bury(worker: WorkerProcess) -> list[str]:
    """Wait for its end, show its output, and kill and name what outlived it."""
    if isinstance(worker.process, ForkedProcess):
        worker.process.kill()
        worker.process.wait(30)
    else:
        end(worker.process, signal.SIGKILL, timeout=30)
    print(f"--- the output of bgworker {worker.pid}:\n{worker.output}")
    try:
        wait_until(lambda: not worker.family(), 30)
    except AssertionError:
        survivors = [str(process) for process in worker.family()]
        worker.kill()
        return survivors
    return []
