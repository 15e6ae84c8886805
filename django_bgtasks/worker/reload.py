"""`--reload`: run the worker in another process and start it again when code changes.

The parent has loaded the site once and knows its files. A change that does not load is shown, and
the next change is waited for.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from django.utils.autoreload import get_child_arguments, iter_all_python_module_files

from . import unix_signals
from .garbage import keep_what_is_loaded
from .processes import die_with, signal_process

logger = logging.getLogger("django_bgtasks.worker")
INSIDE = "DJANGO_BGTASKS_RELOADED"
FIRST, AGAIN = "1", "2"
LOOK_EVERY = 0.5
FAILED = 1


def is_restart() -> bool:
    """Whether this process has taken the place of one that told all there is to tell."""
    return os.environ.get(INSIDE, FIRST) != FIRST


def run_with_reload() -> bool:
    """True in the process that is to work. The parent stays here, and gets False at the end."""
    if os.environ.get(INSIDE):
        die_with(os.getppid())
        return True
    _Reloader().run()
    return False


class _Reloader:
    def __init__(self) -> None:
        self.stopping = False
        self.worker: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        keep_what_is_loaded()
        unix_signals.listen(self._stop)
        life = FIRST
        while not self.stopping:
            seen = _times()
            self.worker = subprocess.Popen(  # noqa: S603 - our own command line again
                get_child_arguments(), env={**os.environ, INSIDE: life}
            )
            life = AGAIN
            if self._was_stopped():
                # The stop came before there was this worker to tell.
                self._tell_worker()
            code = self._watch(self.worker, seen)
            if code is not None:
                sys.exit(code)
            if not self.stopping:
                self._tell_worker()
            self.worker.wait()

    def _watch(self, worker: subprocess.Popen[bytes], seen: dict[Path, float]) -> int | None:
        """Until a file changes or the worker is stopped. Returns the code of one that ended.

        A worker that fails with an exception, such as a syntax error, is left until a change.
        """
        is_logged = False
        while not self.stopping:
            time.sleep(LOOK_EVERY)
            code = worker.poll()
            if self._was_stopped():
                # It may have been told before it could listen: its code says nothing.
                return None
            if code == FAILED and not is_logged:
                logger.warning("The worker failed. It starts again when a file changes.")
                is_logged = True
            elif code not in (None, FAILED):
                return code
            now = _times()
            changed = [path for path in now if seen.get(path, now[path]) != now[path]]
            if changed:
                logger.info("%s changed; starting again.", changed[0])
                return None
        return None

    def _was_stopped(self) -> bool:
        """Since it was looked at last: the handler may have run in between."""
        return self.stopping

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True
        # At once: a worker that has the signal itself, with the group, takes both for one.
        self._tell_worker()

    def _tell_worker(self) -> None:
        if self.worker is not None and self.worker.returncode is None:
            signal_process(self.worker.pid, signal.SIGTERM)


def _times() -> dict[Path, float]:
    times = {}
    for path in iter_all_python_module_files():
        with suppress(OSError):
            times[Path(path)] = Path(path).stat().st_mtime
    return times
