"""A system's worker in a process of its own, with all the processes it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from pathlib import Path

import psutil

from testproject.servers.processes import spawn
from tests.workers import ROOT, TOKEN, WorkerProcess

STOP_SECONDS = 60.0


class PeerWorker(WorkerProcess):
    """The worker of any system. expected: the harness ended it, so its end says nothing."""

    def __init__(self, command: list[str], *, env: dict[str, str], output: Path) -> None:
        self.token = uuid.uuid4().hex
        self.log = output
        self.expected = False
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", **env, TOKEN: self.token}
        self.process = spawn(command, output=output, cwd=ROOT, env=environ)

    def kill(self) -> None:
        """SIGKILL to all of its processes, which are looked up before the first of them is hit."""
        self.expected = True
        self.signal_all(signal.SIGKILL)
        super().kill()

    def signal_all(self, sig: signal.Signals) -> None:
        """A signal to each of its processes."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sig)

    def end(self) -> bool:
        """SIGTERM to its main process alone; False if it had to be killed in the end."""
        self.expected = True
        self.send(signal.SIGTERM)
        try:
            self.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill()
        return True
