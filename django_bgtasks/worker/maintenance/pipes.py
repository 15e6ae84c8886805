"""Lines of JSON between the supervisor and its maintenance process.

Neither waits for the other: what does not fit into the pipe is kept and written later, in order.
"""

from __future__ import annotations

import json
import os
import select
import threading
from contextlib import suppress
from typing import Any


class Pipe:
    """One direction: a reader in one process, a writer in the other. Made before the fork."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self._rest, self._unsent = b"", b""
        self._lock = threading.Lock()

    def send(self, kind: str, **fields: Any) -> bool:
        """Write one line, now or with a later flush(). False if nobody reads any more."""
        line = json.dumps({"kind": kind, **fields}, default=str).encode() + b"\n"
        with self._lock:
            self._unsent += line
        return self.flush()

    def flush(self) -> bool:
        """Write what the pipe takes of what is unsent. False if nobody reads any more."""
        with self._lock:
            try:
                while self._unsent:
                    self._unsent = self._unsent[os.write(self.writer, self._unsent) :]
            except BlockingIOError:
                return True
            except BrokenPipeError:
                self._unsent = b""
                return False
            return True

    def receive(self) -> list[dict[str, Any]] | None:
        """The lines that are there, without waiting; None when the other end is closed."""
        lines: list[dict[str, Any]] = []
        while select.select([self.reader], [], [], 0)[0]:
            data = os.read(self.reader, 65536)
            if not data:
                return lines or None
            *whole, self._rest = (self._rest + data).split(b"\n")
            lines += [json.loads(line) for line in whole]
        return lines

    def keep_reader(self) -> None:
        """In the reading process, after the fork."""
        os.close(self.writer)

    def keep_writer(self) -> None:
        """In the writing process, after the fork."""
        os.close(self.reader)

    def close(self) -> None:
        """Close what is open of it here."""
        for end in (self.reader, self.writer):
            with suppress(OSError):
                os.close(end)
