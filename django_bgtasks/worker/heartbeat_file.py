"""`--heartbeat-file`: a file whose time of modification says that this worker is well.

For probes on the same host, such as Kubernetes has them. Nothing else reads it.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from ..core import clock

logger = logging.getLogger("django_bgtasks.worker")
TOUCH_EVERY = 1.0
# What such a file has in it: the process id of its worker.
CONTENT = re.compile(rb"\d*\s*")


class HeartbeatFileError(OSError):
    """The path cannot be used for a heartbeat."""


class HeartbeatFile:
    """The file of one worker, from its start to its end. Raises HeartbeatFileError if the path
    cannot be written, or is another kind of file, which would be lost.
    """

    def __init__(self, path: str) -> None:
        # Absolute: nobody knows in which directory the worker's last breath is.
        self.path = Path(path).absolute()
        self._own = f"{os.getpid()}\n".encode()
        self._next, self._failed = 0.0, False
        try:
            self._write()
        except OSError as error:
            raise HeartbeatFileError(f"{self.path}: {error.strerror or error}") from None

    def touch(self) -> None:
        """Say that all is well, at most once a second. What cannot be written is logged once."""
        now = clock.monotonic()
        if now < self._next:
            return
        self._next = now + TOUCH_EVERY
        try:
            try:
                os.utime(self.path)
            except FileNotFoundError:
                # Somebody has tidied up.
                self._write()
        except OSError as error:
            if not self._failed:
                logger.warning("The heartbeat file %s cannot be written: %s", self.path, error)
            self._failed = True
        else:
            self._failed = False

    def remove(self) -> None:
        """This worker ends. The file of another one that has taken over the path stays."""
        with suppress(OSError):
            if self.path.read_bytes() == self._own:
                self.path.unlink()

    def _write(self) -> None:
        # Not to wait for the reader of a pipe.
        number = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        with os.fdopen(number, "r+b", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise HeartbeatFileError("it is no regular file")
            if not CONTENT.fullmatch(file.read(100)):
                raise HeartbeatFileError(
                    "it exists and is no heartbeat file; it is not overwritten"
                )
            file.seek(0)
            file.truncate()
            file.write(self._own)
