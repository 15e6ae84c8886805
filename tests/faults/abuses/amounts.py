"""How much a task takes."""

from __future__ import annotations

import logging
import mmap
import resource
import subprocess
import threading
import time

from .kinds import MIB, kind, left


@kind
def takes_all_memory() -> None:
    left.append(bytearray(2**50))


@kind
def takes_all_memory_it_may_have() -> None:
    """With a limit of the kernel; the limit stays."""
    used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE  # noqa: PTH123, SIM115
    resource.setrlimit(resource.RLIMIT_AS, (used + 64 * MIB, resource.RLIM_INFINITY))
    hoard = []
    while True:
        hoard.append(bytearray(4 * MIB))


@kind
def keeps_200_mb() -> None:
    left.append(bytearray(b"x") * (200 * MIB))


@kind
def leaks_1000_threads() -> None:
    """Not even daemons: an interpreter would wait for them at its end."""
    for _ in range(1000):
        threading.Thread(target=time.sleep, args=(600,)).start()


@kind
def logs_64_mb() -> None:
    logging.getLogger("django_bgtasks").warning("%s", "x" * (64 * MIB))


@kind
def leaves_a_program() -> str:
    program = subprocess.Popen(["sleep", "600"])
    left.append(program)
    return str(program.pid)
