"""What every embedded server can do: start, stop, be killed, come back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from .processes import end, spawn, wait_for

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


class ServerMissing(RuntimeError):
    """No binary of the server was found here, or it did not start."""


class Server(ABC):
    """A server in a directory of its own; a context manager that starts and stops it."""

    variable: ClassVar[str]
    title: ClassVar[str]
    polite_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, *, private: bool = False) -> None:
        """private: start a process even if the environment names a server."""
        self.given = None if private else os.environ.get(self.variable)
        self.directory: Path | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it answers; ServerMissing if that cannot be."""
        if self.given or self.process:
            return self
        try:
            if self.directory is None:
                self.directory = self._make_directory()
                self._prepare()
            self.process = self._spawn(self._command())
            answered = wait_for(self._answers_or_ended, timeout=START_TIMEOUT)
            if not answered or self._ended():
                raise self._failure("did not start")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop it as an administrator would, and remove its directory."""
        self._end(self.polite_signal)
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory is short; `start()` brings it back."""
        self._refuse_given("killed")
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it politely and start it again, on the same address."""
        self._refuse_given("restarted")
        self._end(self.polite_signal)
        self.start()

    @property
    def log(self) -> Path:
        """The file with its output."""
        return self.home / "server.log"

    @property
    def home(self) -> Path:
        """The directory of a started server."""
        if self.directory is None:
            raise RuntimeError(f"{self.title} has not been started.")
        return self.directory

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line that runs the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server takes connections."""

    def _prepare(self) -> None:  # noqa: B027 - most servers need nothing
        """Make what the first start needs."""

    def _make_directory(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="bgtasks-"))

    def _user(self) -> str:
        """The system's user to run as; empty for this process's own."""
        return ""

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        return spawn(
            command,
            output=self.log,
            cwd=self.home,
            user=self._user(),
            death_signal=self.death_signal,
        )

    def _end(self, sig: signal.Signals) -> None:
        if self.process:
            end(self.process, sig, timeout=STOP_TIMEOUT)
            self.process = None

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _answers_or_ended(self) -> bool:
        return self._ended() or self._answers()

    def _failure(self, what: str) -> ServerMissing:
        log = self.log.read_text(errors="replace")[-2000:]
        return ServerMissing(f"{self.title} {what}. The end of its log:\n{log}")

    def _refuse_given(self, what: str) -> None:
        if self.given:
            raise RuntimeError(f"{self.title} of {self.variable} is not ours to be {what}.")
