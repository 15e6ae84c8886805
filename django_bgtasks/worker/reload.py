"""`--reload`: run the worker in a child process and start it again when code changes.

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
from pathlib import Path
from types import FrameType

from django.utils.autoreload import iter_all_python_module_files

logger = logging.getLogger("django_bgtasks.worker")
INSIDE = "DJANGO_BGTASKS_RELOADED"
LOOK_EVERY = 0.5


def run_with_reload() -> bool:
    """True in the process that is to work. The parent stays here, and gets False at the end."""
    if os.environ.get(INSIDE):
        return True
    _Reloader().run()
    return False


class _Reloader:
    def __init__(self) -> None:
        self.stopping = False
        self.worker: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self.stopping:
            seen = _times()
            self.worker = subprocess.Popen(
                [sys.executable, *_interpreter_options(), *sys.argv],
                env={**os.environ, INSIDE: "1"},
            )
            self._watch(seen)
            self.worker.send_signal(signal.SIGTERM)
            self.worker.wait()

    def _watch(self, seen: dict[Path, float]) -> None:
        """Until a file changes or this worker is stopped; also beyond a failed start."""
        while not self.stopping:
            time.sleep(LOOK_EVERY)
            now = _times()
            changed = [path for path in now if seen.get(path, now[path]) != now[path]]
            if changed:
                logger.info("%s changed; starting again.", changed[0])
                return

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True


def _times() -> dict[Path, float]:
    times = {}
    for path in iter_all_python_module_files():
        try:
            times[Path(path)] = os.stat(path).st_mtime
        except OSError:
            continue
    return times


def _interpreter_options() -> list[str]:
    return [f"-W{option}" for option in sys.warnoptions]
