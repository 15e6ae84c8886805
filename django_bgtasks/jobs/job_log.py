"""The log of a job: what is logged within an attempt of a task with log=True, for the job's page.

Only INFO and above, of any logger that is not disabled, after the logger's own filters. What the
site's LOGGING does with a record stays as it is: a line that no handler would get is for the job
only. A record belongs to the attempt in whose context of variables it is logged; a thread that the
task starts itself has another one.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..core.current import running
from ..core.outcomes import Log
from ..core.payload import clipped

LEVEL = logging.INFO
# The last ones are kept; of a long one its head and its tail.
MOST_LINES, MOST_CHARS, LONGEST = 200, 64 * 1024, 8 * 1024
# Of a text before it is redacted: half a secret would not be recognized.
UNREDACTED = 64 * 1024
_formatter = logging.Formatter()


class JobLog:
    """The last lines of one attempt, which is heard while this is entered.

    redact: what takes the sensitive arguments out of a text.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._lines: deque[list[str]] = deque()
        # The handler of a signal may log too.
        self._lock = threading.RLock()
        self._chars, self._left_out, self._seen = 0, 0, 0

    def __enter__(self) -> None:
        _loggers.begin()

    def __exit__(self, *error: object) -> None:
        _loggers.end()

    def add(self, record: logging.LogRecord) -> None:
        """Keep a record as one line, which may have several lines of text."""
        text = clipped(self._redact(_text_of(record)), LONGEST)
        moment = datetime.fromtimestamp(record.created, UTC)
        line = [moment.isoformat(), record.levelname[:20], clipped(record.name)[:255], text]
        with self._lock:
            self._lines.append(line)
            self._chars += len(text)
            while len(self._lines) > MOST_LINES or self._chars > MOST_CHARS:
                self._chars -= len(self._lines.popleft()[-1])
                self._left_out += 1

    def lines(self) -> Log | None:
        """What there is; None if that is nothing."""
        with self._lock:
            return Log(tuple(self._lines), self._left_out) if self._lines else None

    def new_lines(self) -> Log | None:
        """What there is; None if it is what there was at the last call."""
        count = self._left_out + len(self._lines)
        if count == self._seen:
            return None
        self._seen = count
        return self.lines()


def _text_of(record: logging.LogRecord) -> str:
    """The message, and the traceback that a logger adds to it."""
    try:
        text = record.getMessage()
    except Exception as broken:
        words = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        text = f"{words:.200} <cannot be formatted: {type(broken).__name__}>"
    trace = record.exc_text
    if not trace and record.exc_info and record.exc_info[0] is not None:
        trace = _formatter.formatException(record.exc_info)
    parts = [text, trace, record.stack_info]
    return clipped("\n".join(part for part in parts if part), UNREDACTED)


class _Loggers:
    """What Python's loggers do while an attempt with a log runs in this process.

    A handler would not do: a logger need not propagate, and most sites let no INFO through.
    """

    def __init__(self) -> None:
        self._lock, self._attempts = threading.RLock(), 0
        self._before: dict[str, Any] = {}

    def begin(self) -> None:
        """One more attempt."""
        with self._lock:
            self._attempts += 1
            for name, own in OWN.items():
                if name not in self._before:
                    self._before[name] = getattr(logging.Logger, name)
                    setattr(logging.Logger, name, own)

    def end(self) -> None:
        """One less. After the last one all is as before, but for what others have put around it."""
        with self._lock:
            self._attempts -= 1
            for name in list(self._before) if self._attempts == 0 else ():
                if getattr(logging.Logger, name) is OWN[name]:
                    setattr(logging.Logger, name, self._before.pop(name))

    def before(self, name: str) -> Any:
        """The method in whose place one of ours is."""
        return self._before.get(name) or getattr(logging.Logger, name)


def _is_enabled_for(self: logging.Logger, level: int) -> bool:
    if _loggers.before("isEnabledFor")(self, level):
        return True
    silenced = self.disabled or self.manager.disable >= level
    return level >= LEVEL and not silenced and _current() is not None


def _call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
    log = _current() if record.levelno >= LEVEL else None
    if log is not None:
        log.add(record)
    if log is None or _loggers.before("isEnabledFor")(self, record.levelno):
        _loggers.before("callHandlers")(self, record)


OWN: dict[str, Any] = {"isEnabledFor": _is_enabled_for, "callHandlers": _call_handlers}
_loggers = _Loggers()


def _current() -> JobLog | None:
    run = running.get()
    log: JobLog | None = None if run is None else run.log
    return log
