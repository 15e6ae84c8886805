"""Where a job process gets its messages: from Redis, which may be away for a while."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from ..core import clock
from ..core.faultpoints import fault_point
from ..core.states import State
from ..jobs.execute import Run
from ..ledger import identity
from ..ledger.connection import retry_until_connected
from ..ledger.database_errors import DISCONNECTED
from ..ledger.lifecycle import plan_claims
from ..ledger.queues import without_claim
from ..ledger.statements import meanwhile
from ..sandbox.connections import give_back_connections
from ..transport.connection import (
    CLUSTER_ERRORS,
    RedisError,
    connection,
    describe,
    reason,
    uses_redis,
)
from ..transport.messages import Finished, exchange, namespace_of
from ..transport.permissions import NotAllowed, require
from ..transport.rq_worker import RQWorker
from ..transport.sender import senders
from .config import WorkerConfig
from .once_flag import OnceFlag
from .served_queues import ServedQueues

logger = logging.getLogger("django_bgtasks.worker")

FETCH_SECONDS = 0.5
# A Redis that hangs is one that is away: a reply may take so long, the wait for a message included.
# A job that comes as the hang begins waits for both at worst: one last wait, and a reply that does
# not come to the next command. Together they stay below two seconds.
REPLY_SECONDS = 1.2
LOOK_EVERY = 1.0
TRY_REDIS_EVERY = 2.0
# A site that found Redis away spares it for a while yet (PAUSE_SECONDS), and pushes nothing.
DOUBT_SECONDS = 5.0
HEARTBEAT_EVERY = 30.0
# It is there, and will not do until somebody changes it.
UNFIT = (NotAllowed, *CLUSTER_ERRORS)
# Maintenance may have given the ledger another name.
LOOK_FOR_NAME_EVERY = 5.0
# How many messages of an RQ queue to take; none where there is no room for more.
Capacity = Callable[[str], int]


class MessageFetcher:
    """The link of a job process to Redis: it fails, it is left alone for a while, it comes back.

    once_flag: shared by the job processes of a worker, of which one says that Redis is away.
    suspended: whether `rq suspend` holds the workers. source: the RQ queue of what was taken last;
    empty once Redis is away.
    """

    def __init__(self, config: WorkerConfig, queues: ServedQueues, once_flag: OnceFlag) -> None:
        self.config, self.queues, self.once_flag = config, queues, once_flag
        self.worker: RQWorker | None = None
        self.suspended, self.source = False, ""
        self._retry_at = self._doubt_until = self._look_at = self._beat_at = self._name_at = 0.0
        self._missed = self._does_without = self._waits_for_room = False
        self._queues_seen = 0
        self._finished = Finished()
        self._lock = threading.Lock()

    @fault_point("fetch")
    def fetch(
        self, capacity: Capacity, seconds: float = 0, running: UUID | None = None
    ) -> list[UUID]:
        """The next messages of one queue; none when there are none, Redis is away or suspended.

        Several only at once: what comes after waiting, at most so many seconds, is one.
        running: one of the jobs that go on meanwhile.
        """
        worker = self._connected()
        if worker is None:
            return []
        try:
            self._look_around(worker)
            ids, has_new_queues = self._take(worker, capacity)
            if ids or self.suspended or not seconds or has_new_queues:
                return ids
            return self._wait(worker, capacity, seconds, running)
        except RedisError as error:
            self._away(error)
            return []

    def has_all(self) -> bool:
        """Whether each queued job has its message there: not while it is away, nor just after."""
        return self.worker is not None and clock.monotonic() >= self._doubt_until

    def _take(self, worker: RQWorker, capacity: Capacity) -> tuple[list[UUID], bool]:
        with self._lock:
            finished, self._finished = self._finished, Finished()
        names = worker.rq_queues
        counts = [capacity(name) for name in names]
        answer = exchange(worker.key, finished, names, counts, worker.namespace, worker.connection)
        self.suspended, self.source = answer.suspended, answer.source
        has_new_queues = answer.queues != self._queues_seen
        if has_new_queues:
            # One of them may have a higher priority.
            self._look_at, self._queues_seen = 0.0, answer.queues
        return answer.ids, has_new_queues

    def _wait(
        self, worker: RQWorker, capacity: Capacity, seconds: float, running: UUID | None = None
    ) -> list[UUID]:
        """Wait for a message of a queue for which there is room.

        All questions come before the wait: between the message and its job there is the claim.
        """
        if running is not None:
            self.begin(running)
        self.queues.look_for_pauses()
        self._plan_claims()
        served = [name for name in worker.rq_queues if not self.queues.is_paused(name)]
        # First: who makes room from here on says so.
        self._waits_for_room = True
        names = [name for name in served if capacity(name)]
        self._waits_for_room = len(names) < len(served)
        source, job_id, suspended = worker.wait(names, seconds)
        self._waits_for_room = False
        if job_id is None:
            return []
        self.source, self.suspended = source, suspended
        if suspended:
            worker.put_back(source, [job_id])
            return []
        meanwhile.calls.append(partial(self.begin, job_id))
        return [job_id]

    def _plan_claims(self) -> None:
        config = self.config
        try:
            plan_claims(config.worker, config.using, config.queues, config.backend)
        except (DatabaseError, InterfaceError):
            # Who claims a job will see what it is, and deal with it.
            connections[config.using].close()

    def notify(self) -> None:
        """From another thread: there is room for more jobs than before."""
        worker = self.worker
        if worker is None or not self._waits_for_room:
            return
        try:
            worker.wake()
        except RedisError as error:
            logger.debug("It will look by itself: %s", reason(error))

    def begin(self, job_id: UUID) -> None:
        """Show the job as running. That must not hold it up."""
        if self.worker is not None:
            senders.of(self.config.backend).tell(self.worker.begin(job_id))

    def ahead(self, ids: Sequence[UUID], looked_at: float) -> list[UUID]:
        """Those of these messages, of which there was nothing to claim at that time, that may have
        been ahead of their rows then: PostgreSQL's are sent while they are committed.
        """
        worker, using = self.worker, self.config.using
        if worker is None or connections[using].vendor != "postgresql":
            return []
        try:
            new = worker.ahead(ids, looked_at)
        except RedisError as error:
            self._away(error)
            return []
        return retry_until_connected(lambda: without_claim(new, using), using) if new else []

    def put_back(self, ids: list[UUID]) -> None:
        """Return messages that were popped and not begun; maintenance sends again what is lost
        here, and what came from the database.
        """
        if self.worker is None or not self.source or not ids:
            return
        try:
            self.worker.put_back(self.source, ids)
        except RedisError as error:
            self._away(error)

    @fault_point("acknowledge")
    def acknowledge(self, ids: list[UUID], runs: list[Run]) -> None:
        """Forget these messages, with the next exchange. runs: those that were run and settled.

        A job that runs again at once has a new message by now, which stays.
        """
        again = {run.job.pk for run in runs if run.job.state == State.QUEUED}
        successes = sum(run.job.state == State.SUCCEEDED for run in runs)
        with self._lock:
            self._finished.messages += [job_id for job_id in ids if job_id not in again]
            self._finished.successes += successes
            self._finished.failures += len(runs) - successes

    def forget(self, job_id: UUID) -> None:
        """Forget a message of which there was nothing to claim: its job may be another ledger's."""
        with self._lock:
            self._finished.unclaimed.append(job_id)

    def leave(self) -> None:
        """Take this job process out of RQ's registry."""
        if self.worker is None:
            return
        try:
            self._take(self.worker, lambda name: 0)
            self.worker.register_death()  # type: ignore[no-untyped-call]
        except RedisError as error:
            logger.debug("Redis was away at the end: %s", reason(error))

    def _connected(self) -> RQWorker | None:
        """The RQ worker, if Redis is there; tries again every two seconds when it was not."""
        if self.worker is None and not uses_redis(self.config.backend):
            self._do_without()
            return None
        if clock.monotonic() >= self._name_at:
            self._follow_name()
        if self.worker is None and clock.monotonic() >= self._retry_at:
            self._connect()
        return self.worker

    def _follow_name(self) -> None:
        """Go on under the name that the ledger has now, should it have got another one."""
        self._name_at = clock.monotonic() + LOOK_FOR_NAME_EVERY
        config = self.config
        try:
            identity.reread(config.using)
            namespace = namespace_of(config.backend, config.using)
        except DISCONNECTED:
            connections[config.using].close()
            return
        finally:
            give_back_connections()
        if self.worker is not None and self.worker.namespace != namespace:
            self.leave()
            self.worker, self.source, self._queues_seen = None, "", 0
            self._finished = Finished()

    def _connect(self) -> None:
        config = self.config
        try:
            # With the little patience of a push: who asks a Redis that still hangs runs no jobs.
            connection(config.backend).ping()
            redis = connection(config.backend, REPLY_SECONDS)
            ask = partial(namespace_of, config.backend, config.using)
            namespace = retry_until_connected(ask, config.using)
            require(namespace, redis)
            name = config.process_name(os.getpid())
            self.worker = RQWorker(self.queues.names(), self.queues.rank, name, namespace, redis)
        except RedisError as error:
            self._away(error)
            return
        if self._missed:
            self._doubt_until = clock.monotonic() + DOUBT_SECONDS
        if self.once_flag.ends():
            text = "Redis at %s was found." if self._does_without else "Redis at %s is back."
            logger.info(text, describe(self.config.backend))
        self._missed = self._does_without = False

    def _do_without(self) -> None:
        """There is no Redis. Should one come, a site may not notice at once."""
        if not self._missed:
            self._missed = self._does_without = True
            self.once_flag.begins()

    def _away(self, error: RedisError) -> None:
        self.worker, self.source, self._queues_seen = None, "", 0
        self._finished = Finished()
        self._retry_at = clock.monotonic() + TRY_REDIS_EVERY
        if not self._missed and self.once_flag.begins():
            state = "cannot be used" if isinstance(error, UNFIT) else "is away"
            text = "Redis at %s %s: %s Jobs go on from the database."
            logger.warning(text, describe(self.config.backend), state, reason(error))
        self._missed = True

    def _look_around(self, worker: RQWorker) -> None:
        now = clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self.suspended = worker.look_around(self.queues.names())
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_EVERY
            worker.heartbeat()
