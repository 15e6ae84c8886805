"""Fork a child that cannot outlive its parent."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from django.db import connections

from ..flow.around import LEAVING
from ..flow.connections import abandon_connections
from ..flow.footing import ROBBED
from ..ledger import identity
from ..transport.connection import forget

logger = logging.getLogger("django_bgtasks.worker")
PR_SET_PDEATHSIG = 1
OF_THE_PARENT = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP)


def fork(main: Callable[[], None]) -> int:
    """Run main() in a child process and return its pid. The child exits when main returns.

    The child gets the default signal handlers and no connection of its parent.
    """
    parent = os.getpid()
    gc.freeze()
    # A stop that comes before the child has handlers of its own must not end in its parent's.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, OF_THE_PARENT)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid
    code = 1
    try:
        _settle_in(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        logger.exception("A child of bgworker ended with an error.")
    finally:
        try:
            _take_leave()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # Not sys.exit: the handlers of the parent's interpreter are not this process's.
            os._exit(code)


def _take_leave() -> None:
    for leave in LEAVING:
        try:
            leave()
        except Exception:
            logger.exception("A bridge to another system could not end in order.")


def _settle_in(parent: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in OF_THE_PARENT:
        signal.signal(number, signal.SIG_DFL)
    random.seed()
    forget()
    identity.forget()
    connections.close_all()
    die_with(parent)


def disown_copies() -> None:
    """A copy that a task forks, for a pool say, gets what any process has: default handlers, so
    that it can be terminated, and database connections of its own when it asks for them.
    """
    ours = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def disown() -> None:
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL)
        abandon_connections()

    os.register_at_fork(after_in_child=disown)


def die_with(parent: int) -> None:
    """Let this process be killed when its parent is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def describe_end(status: int) -> str:
    """How a child ended, in words, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code == ROBBED:
        return f"exited with code {code}: the task had closed the descriptors of its process"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def resident_mib() -> float:
    """The memory that this process holds, in MiB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
