"""Child processes that never outlive the process that started them."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TIE = Path(__file__).with_name("tie.py")
_living: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}


def spawn(
    command: Sequence[str | Path],
    *,
    output: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str = "",
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to a file.

    On Linux the kernel sends it `death_signal` when this process ends in any way, a kill included;
    elsewhere it is killed when this process exits.
    """
    tie = [sys.executable, "-I", "-S", str(TIE), str(int(death_signal)), str(os.getpid()), user]
    with output.open("ab") as log:
        process = subprocess.Popen(
            [*tie, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    _living[process.pid] = (os.getpid(), process)
    return process


def end(process: subprocess.Popen[bytes], sig: signal.Signals, *, timeout: float) -> int:
    """Signal a process, kill its whole group if it has not gone in time, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(sig)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        kill_group(process)
        return process.wait()
    finally:
        _living.pop(process.pid, None)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and all of its group."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A TCP port on which nothing listens; a Redis Cluster uses the one 10,000 above it too."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if port <= 55535:
            return port


def wait_for(ready: Callable[[], bool], *, timeout: float) -> bool:
    """Ask until the answer is yes; False when `timeout` seconds were not enough."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _end_all() -> None:
    for owner, process in list(_living.values()):
        # A forked child inherits this list, and must leave its parent's processes alone.
        if owner == os.getpid():
            kill_group(process)


atexit.register(_end_all)
