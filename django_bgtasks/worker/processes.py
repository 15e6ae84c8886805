"""The processes of a worker: none outlives its parent, nor do those that tasks have started.

Of the latter Python ends daemons and pools with its own end. A job process does not end as Python
does, for its interpreter was its parent's; or it is killed.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import thread as pool_threads
from contextlib import suppress
from functools import partial
from importlib import import_module
from multiprocessing import util
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ..core.messages import Reason
from ..core.payload import printable
from ..jobs.task import ensure_backend
from ..ledger import identity
from ..ledger.own_transactions import load_for
from ..sandbox.connections import abandon_connections
from ..sandbox.restore import EXIT_FDS_CLOSED
from ..signals import process_started, process_stopping
from ..transport.connection import close_in_fork, connection, drop_clients, needs_redis
from ..transport.sender import senders
from . import garbage, log_handlers, unix_signals
from .streams import flush_streams

logger = logging.getLogger("django_bgtasks.worker")
PR_SET_PDEATHSIG = 1
OF_THE_PARENT = (*unix_signals.STOPS, signal.SIGCHLD, signal.SIGUSR1)
ERROR_LENGTH = 200
CLEAN_UP_SECONDS = 2.0
POOLS = "concurrent.futures.process"
LOOK_FOR_PARENT_EVERY = 0.5
DAEMON_SECONDS = 1.0
_key = threading.Lock()
# The backend and the kind of this process, once it has begun.
_started: list[tuple[str, str]] = []


class LastError:
    """The error with which a process ended, in memory that it shares with its parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4 * ERROR_LENGTH)

    def note(self, error: BaseException) -> bool:
        """Note it. False if the process before this one has ended with the same."""
        text = printable(" ".join(f"{type(error).__name__}: {error}".split()))[:ERROR_LENGTH]
        before, self._memory[:] = str(self), text.encode().ljust(4 * ERROR_LENGTH, b"\0")
        return str(self) != before

    def clear(self) -> None:
        """All is well again: the next error is a new one."""
        self._memory[:] = bytes(4 * ERROR_LENGTH)

    def __str__(self) -> str:
        return self._memory[:].rstrip(b"\0").decode()


def load_beforehand(backend: str, using: str) -> None:
    """Load what each process will need for its connections: once, and not in each of them."""
    import_module("encodings.idna")
    connections[using].ops.compiler("SQLCompiler")
    for each in connections.all():
        load_for(each)
    # Made, not connected. Who uses it says what is wrong with the settings.
    with suppress(ImproperlyConfigured):
        if needs_redis(backend):
            connection(backend)


def fork(main: Callable[[], None], last_error: LastError | None = None) -> int:
    """Run main() in a new process and return its pid. That exits when main returns.

    It gets the default signal handlers and no connection of its parent.
    last_error: where its error is noted; the same one is not logged again.
    """
    parent = os.getpid()
    flush_streams()
    garbage.keep_what_is_loaded()
    # A stop that comes before the new process has handlers of its own must not end in its parent's.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, OF_THE_PARENT)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid
    code = 1
    try:
        _set_up(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        if last_error is None or last_error.note(error):
            logger.exception("A process of bgworker ended with an error.")
    finally:
        try:
            _clean_up()
        finally:
            # Not sys.exit: the handlers of the parent's interpreter are not this process's.
            os._exit(code)


def _clean_up() -> None:
    """What Python does at its end, as far as it is this process's own."""
    for backend, kind in _started:
        sender = type(ensure_backend(backend))
        _try(partial(process_stopping.send_robust, sender=sender, kind=kind))
    # What a task has left behind, a lock say, must not hold up the end.
    for leave in (end_pools, end_daemons, senders.flush, log_handlers.close, flush_streams):
        thread = threading.Thread(target=_try, args=(leave,), daemon=True)
        thread.start()
        thread.join(CLEAN_UP_SECONDS)


def announce_process(backend: str, kind: str) -> None:
    """This process of a worker begins: send process_started, and process_stopping at its end.

    kind: "jobs" or "maintenance".
    """
    _started.append((backend, kind))
    process_started.send_robust(sender=type(ensure_backend(backend)), kind=kind)


def _try(leave: Callable[[], object]) -> None:
    try:
        leave()
    except Exception:
        logger.exception("A process of bgworker could not end in order.")


def _set_up(parent: int) -> None:
    signal.set_wakeup_fd(-1)
    unix_signals.listen(signal.SIG_DFL)
    for number in (signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    random.seed()
    drop_clients()
    identity.forget()
    log_handlers.restart_in_fork()
    connections.close_all()
    die_with(parent)


def signal_process(pid: int, number: int) -> None:
    """Send a signal to a process; one that has just ended, or is none, needs none."""
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)


def prepare_forks() -> None:
    """A process that a task forks, for a pool say, gets what any process has: default handlers, so
    that it can be terminated, and database connections of its own when it asks for them.
    """
    handlers = {number: signal.getsignal(number) for number in unix_signals.STOPS}
    blocked = threading.local()

    def block_stops() -> None:
        # A stop that comes before the fork has the default handlers would be lost in ours.
        blocked.mask = signal.pthread_sigmask(signal.SIG_BLOCK, unix_signals.STOPS)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked.mask)

    def reset() -> None:
        for number, handler in handlers.items():
            if callable(handler) and signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL)
        release()
        abandon_connections()
        close_in_fork()

    os.register_at_fork(before=block_stops, after_in_parent=release, after_in_child=reset)
    # Its end would wait for the threads of pools: for itself, where one of them has forked it.
    threads: Any = pool_threads._threads_queues
    os.register_at_fork(after_in_child=threads.clear)
    # Daemonic processes, and those of a pool, end when this process is gone.
    util.register_after_fork(_key, _end_with_parent)


def die_with(parent: int) -> None:
    """Let this process be killed when its parent is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=exit_without, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _end_with_parent(key: object) -> None:
    me, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    of_a_pool = getattr(getattr(me, "_target", None), "__module__", "") == POOLS
    if parent is not None and parent.pid and (me.daemon or of_a_pool):
        threading.Thread(target=exit_without, args=(parent.pid,), daemon=True).start()


def exit_without(parent: int) -> None:
    """Wait until this process has another parent, and end it."""
    while os.getppid() == parent:
        time.sleep(LOOK_FOR_PARENT_EVERY)
    os._exit(1)


def end_pools() -> None:
    """At the orderly end of a job process: let pools of concurrent.futures end, before the rest."""
    if POOLS in sys.modules:
        sys.modules[POOLS]._python_exit()


def end_daemons() -> None:
    """At the orderly end of a job process: end them. Others that a task has left go on."""
    util._run_finalizers(0)  # type: ignore[attr-defined]
    here = os.getpid()
    # The parent's own are known here too.
    daemons = [
        daemon
        for daemon in multiprocessing.active_children()
        if daemon.daemon and daemon._parent_pid == here  # type: ignore[attr-defined]
    ]
    for daemon in daemons:
        daemon.terminate()
    for daemon in daemons:
        daemon.join(DAEMON_SECONDS)
        if daemon.is_alive():
            daemon.kill()
    util._run_finalizers()  # type: ignore[attr-defined]


def end_of(status: int) -> Reason:
    """How a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code == EXIT_FDS_CLOSED:
        return Reason("process_fds_closed", {"code": code})
    if code >= 0:
        return Reason("process_exited", {"code": code})
    try:
        return Reason("process_killed", {"signal": signal.Signals(-code).name})
    except ValueError:
        return Reason("process_killed_by_number", {"number": -code})


def resident_mib() -> float:
    """The memory that this process holds, in MiB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
