"""The queues that a job process serves: in which order, and which of them are paused."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from django.db import connections

from ..core import clock
from ..jobs.task import queues_of
from ..ledger.connection import retry_until_connected
from ..ledger.database_errors import DISCONNECTED
from ..ledger.queues import paused, with_queued_jobs
from ..sandbox.connections import give_back_connections
from ..transport.messages import place_of
from .config import WorkerConfig

DISCOVER_EVERY = 1.0
# Below the fetcher's LOOK_EVERY, so that each of its looks sees the pauses as they are.
LOOK_FOR_PAUSES_EVERY = 0.5


class ServedQueues:
    """The queues that this job process serves, in order; those that turn up later are found."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._found: frozenset[str] = frozenset()
        self._look_at = 0.0
        self._paused: frozenset[str] = frozenset()
        self._pauses_look_at = 0.0

    def names(self) -> tuple[str, ...]:
        """The queues of the command line, or those that the backend declares, without paused ones.

        Redis has the names of all others in which something waits.
        """
        return self._unpaused(self._config.queues or queues_of(self._config.backend))

    def in_database(self) -> tuple[str, ...]:
        """The same, and where none are named all in which the database has a queued job; none at
        all if it has none: then one statement has told it.
        """
        config = self._config
        if config.queues:
            return self.names()
        if clock.monotonic() < self._look_at:
            return self._unpaused(queues_of(config.backend) | self._found)
        look = partial(with_queued_jobs, config.backend, config.using)
        self._found = frozenset(retry_until_connected(look, config.using))
        is_busy = self._found and not config.burst
        self._look_at = clock.monotonic() + (DISCOVER_EVERY if is_busy else 0)
        return self._unpaused(self._found) if self._found else ()

    def nothing_left(self) -> None:
        """None of those in which the database had a queued job has one that can be claimed."""
        self._look_at = 0.0

    def rank(self, queue: str) -> tuple[int, str] | None:
        """Where this queue comes among those of the same priority; None if it is not served now."""
        if queue in self._paused:
            return None
        if not self._config.queues:
            return int(queue != "default"), queue
        if queue not in self._config.queues:
            return None
        return self._config.queues.index(queue), queue

    def is_paused(self, rq_queue: str) -> bool:
        """Whether this RQ queue belongs to a queue that is paused, as the last look said."""
        return place_of(rq_queue)[0] in self._paused

    def _unpaused(self, queues: Iterable[str]) -> tuple[str, ...]:
        self.look_for_pauses()
        ranked = [(rank, name) for name in queues if (rank := self.rank(name)) is not None]
        return tuple(name for _, name in sorted(ranked))

    def look_for_pauses(self) -> None:
        """Look which queues are paused, if that is due. A database that is away changes nothing."""
        config = self._config
        if clock.monotonic() >= self._pauses_look_at:
            self._pauses_look_at = clock.monotonic() + LOOK_FOR_PAUSES_EVERY
            try:
                self._paused = paused(config.backend, config.using)
            except DISCONNECTED:
                connections[config.using].close()
            finally:
                give_back_connections()
