"""The processes that tasks start with multiprocessing: those that Python ends with its own end.

A job process does not end as Python does, for its interpreter was its parent's; or it is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from multiprocessing import util

POOLS = "concurrent.futures.process"
LOOK_EVERY = 0.5
END_SECONDS = 1.0
_key = threading.Lock()


def watch_over_daemons() -> None:
    """From now on daemonic processes, and those of a pool, end when this process is gone."""
    util.register_after_fork(_key, _end_with_parent)


def _end_with_parent(key: object) -> None:
    me, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    of_a_pool = getattr(getattr(me, "_target", None), "__module__", "") == POOLS
    if parent is not None and parent.pid and (me.daemon or of_a_pool):
        threading.Thread(target=exit_without, args=(parent.pid,), daemon=True).start()


def exit_without(parent: int) -> None:
    """Wait until this process has another parent, and end it."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
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
        daemon.join(END_SECONDS)
        if daemon.is_alive():
            daemon.kill()
    util._run_finalizers()  # type: ignore[attr-defined]
