"""The log as a worker has set it up: a task that configures logging must not silence others.

Handlers that a library adds at its first use stay. Those that are gone come back.
"""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler
from typing import Any

OURS = ("django_bgtasks", "django.tasks", "django_tasks")
WORKER = "django_bgtasks.worker"
_taken: list[LoggingState] = []


class LoggingState:
    """The loggers of this process as they are now, to be put back later."""

    def __init__(self) -> None:
        names = [name for name in logging.root.manager.loggerDict if name.startswith(OURS)]
        self.loggers = [(one, _State(one)) for one in map(logging.getLogger, ["", *names])]
        self.silenced = logging.root.manager.disable
        self.disabled = {one.name for one in _all_loggers() if one.disabled}
        # Whatever configures logging changes one of these.
        self.watched = [logging.getLogger(name) for name in ("", "django_bgtasks", WORKER)]
        self.seen = self._look()

    def restore(self) -> None:
        """Put them back."""
        if logging.root.manager.disable != self.silenced:
            logging.disable(self.silenced)
        if self._look() != self.seen:
            self._restore()
            self.seen = self._look()

    def _look(self) -> list[Any]:
        return [(one.level, one.disabled, one.propagate, one.handlers[:]) for one in self.watched]

    def _restore(self) -> None:
        configured = [state.restore(logger) for logger, state in self.loggers]
        if any(configured):
            # dictConfig() has disabled all loggers that it was not told of.
            for logger in _all_loggers():
                logger.disabled = logger.name in self.disabled


class _State:
    def __init__(self, logger: logging.Logger) -> None:
        self.level, self.disabled = logger.level, logger.disabled
        self.propagate, self.handlers = logger.propagate, list(logger.handlers)
        self.filters = list(logger.filters)
        self.targets = [
            (one, one.target) for one in self.handlers if isinstance(one, MemoryHandler)
        ]

    def restore(self, logger: logging.Logger) -> bool:
        """Put this logger back. True if it looks as after dictConfig()."""
        logger.setLevel(self.level)
        configured = logger.disabled != self.disabled
        logger.propagate, logger.disabled = self.propagate, self.disabled
        if not _has(logger.filters, self.filters):
            logger.filters[:] = self.filters
        if not _has(logger.handlers, self.handlers):
            logger.handlers[:] = self.handlers
            configured = True
        for handler, target in self.targets:
            # dictConfig() closes all handlers.
            handler.target = target
        return configured


def take_log() -> None:
    """From now on restore_log() brings the log back to how it is now."""
    _taken[:] = [LoggingState()]


def restore_log() -> None:
    """Put back what tasks have changed of the log, and write what they have printed."""
    for state in _taken:
        state.restore()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            # Full, closed, or no stream at all: the worker itself does without.
            continue


def _has(found: list[Any], wanted: list[Any]) -> bool:
    return all(one in found for one in wanted)


def _all_loggers() -> list[logging.Logger]:
    loggers = list(logging.root.manager.loggerDict.values())
    return [logger for logger in loggers if isinstance(logger, logging.Logger)]
