"""A maintenance task: when it runs, and what becomes of a run that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connections

from ...core import clock
from ...sandbox.connections import give_back_connections
from ...transport.connection import RedisError, reason

logger = logging.getLogger("django_bgtasks.worker")
UNREACHABLE = (DatabaseError, InterfaceError, RedisError)


class MaintenanceTask:
    """Calls run_once() when it is due. What cannot be done now is done later.

    name: what it does, for the log: "prune". every: seconds between two runs; run_once() may return
    others, as a float. again: seconds after a run that failed; as ever, if it is not given.
    """

    def __init__(
        self, name: str, every: float, run_once: Callable[[], object], again: float | None = None
    ) -> None:
        self.name, self.every, self.run_once = name, every, run_once
        self.again = every if again is None else again
        self.due = 0.0
        self._failing = False

    def run(self) -> None:
        """Run it if it is due. A database or a Redis that is away is logged once."""
        if clock.monotonic() < self.due:
            return
        try:
            pause = self.run_once()
        except UNREACHABLE as error:
            pause = self.again
            self._log(error)
            for broken in connections.all(initialized_only=True):
                broken.close()
        except Exception:
            # A mistake in one task must not take the heartbeat and the others with it.
            pause = self.again
            logger.exception("Maintenance could not %s.", self.name)
        else:
            self._failing = False
        finally:
            give_back_connections()
        self.due = clock.monotonic() + (pause if isinstance(pause, float) else self.every)

    def _log(self, error: Exception) -> None:
        # A job process says that Redis is away; for a maintenance task it is a detail.
        level = logging.DEBUG if self._failing or isinstance(error, RedisError) else logging.WARNING
        logger.log(level, "Maintenance could not %s: %s", self.name, reason(error))
        self._failing = True
