"""Where a job child finds its next job: in Redis, or in the database while Redis is away."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.db import connections

from ..core import clock
from ..core.faultpoints import fault_point
from ..core.states import State
from ..jobs.execute import Run
from ..jobs.task import queues_of
from ..ledger import identity
from ..ledger.outages import DISCONNECTED, retry_until_connected
from ..ledger.pauses import paused
from ..ledger.queues import with_queued_jobs
from ..sandbox.connections import give_back_connections
from ..transport.connection import RedisError, connection, describe, reason
from ..transport.exchange import Finished
from ..transport.names import place_of
from ..transport.namespace import namespace_of
from ..transport.permissions import NotAllowed, require
from ..transport.rq_worker import RQWorker
from ..transport.script import CLUSTER_ERRORS
from .config import WorkerConfig
from .once_flag import OnceFlag

logger = logging.getLogger("django_bgtasks.worker")

POP_SECONDS = 0.5
# A Redis that hangs is one that is away: a reply may take so long, the wait for a message included.
# A job that comes as the hang begins waits for both at worst: one last pop, and a reply to the next
# command that does not come. Together they stay below two seconds.
PATIENCE = 1.2
LOOK_EVERY = 1.0
# Below LOOK_EVERY, so that each look around sees the pauses as they are.
LOOK_FOR_PAUSES_EVERY = 0.5
TRY_REDIS_EVERY = 2.0
# A site that found Redis away spares it for a while yet (PAUSE_SECONDS), and pushes nothing.
DOUBT_SECONDS = 5.0
HEARTBEAT_EVERY = 30.0
# It is there, and will not do until somebody changes it.
UNFIT = (NotAllowed, *CLUSTER_ERRORS)
DISCOVER_EVERY = 1.0
# Maintenance may have given the ledger another name.
LOOK_FOR_NAME_EVERY = 5.0


class Queues:
    """The queues that this child serves, in order; those that turn up later are found."""

    def __init__(self, config: WorkerConfig) -> None:
        self._plan = config
        self._found: frozenset[str] = frozenset()
        self._look_at = 0.0
        self._paused: frozenset[str] = frozenset()
        self._pauses_look_at = 0.0

    def names(self) -> tuple[str, ...]:
        """The queues of the command line, or those that the backend declares, without paused ones.

        Redis has the names of all others in which something waits.
        """
        return self._unpaused(self._plan.queues or queues_of(self._plan.backend))

    def in_database(self) -> tuple[str, ...]:
        """The same, and where none are named all in which the database has a queued job."""
        config = self._plan
        if config.queues:
            return self.names()
        if clock.monotonic() >= self._look_at:
            self._look_at = clock.monotonic() + (0 if config.burst else DISCOVER_EVERY)
            look = partial(with_queued_jobs, config.backend, config.using)
            found = retry_until_connected(look, config.using)
            self._found = frozenset(found)
        return self._unpaused(queues_of(config.backend) | self._found)

    def rank(self, queue: str) -> tuple[int, str] | None:
        """Where this queue comes among those of the same priority; None if it is not served now."""
        if queue in self._paused:
            return None
        if not self._plan.queues:
            return int(queue != "default"), queue
        if queue not in self._plan.queues:
            return None
        return self._plan.queues.index(queue), queue

    def is_paused(self, rq_queue: str) -> bool:
        """Whether this RQ queue belongs to a queue that is paused."""
        return place_of(rq_queue)[0] in self._pauses()

    def _unpaused(self, queues: Iterable[str]) -> tuple[str, ...]:
        self._pauses()
        ranked = [(rank, name) for name in queues if (rank := self.rank(name)) is not None]
        return tuple(name for _, name in sorted(ranked))

    def _pauses(self) -> frozenset[str]:
        """The paused queues, as the database said when it answered last."""
        config = self._plan
        if clock.monotonic() >= self._pauses_look_at:
            self._pauses_look_at = clock.monotonic() + LOOK_FOR_PAUSES_EVERY
            try:
                self._paused = paused(config.backend, config.using)
            except DISCONNECTED:
                connections[config.using].close()
            finally:
                give_back_connections()
        return self._paused


@dataclass(slots=True)
class Redis:
    """The link of a child to Redis: it fails, it is left alone for a while, it comes back.

    size: how many messages of an RQ queue to take; none where there is no room for more.
    running: a job that runs beside the thread that waits for messages.
    once_flag: shared by the children of a worker, of which one says that Redis is away.
    """

    config: WorkerConfig
    queues: Queues
    size: Callable[[str], int]
    running: Callable[[], UUID | None]
    once_flag: OnceFlag
    worker: RQWorker | None = None
    suspended: bool = False
    _retry_at: float = 0.0
    _doubt_until: float = 0.0
    _look_at: float = 0.0
    _beat_at: float = 0.0
    _name_at: float = 0.0
    _missed: bool = False
    _waits_for_room: bool = False
    _finished: Finished = field(default_factory=Finished)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connected(self) -> bool:
        """Whether Redis is there; tries again every two seconds when it was not."""
        if not self.config.options.dispatch:
            return False
        self._follow_name()
        if self.worker is None:
            if clock.monotonic() < self._retry_at:
                return False
            self._connect()
        return self.worker is not None

    def has_all(self) -> bool:
        """Whether each queued job has its message there: not while it is away, nor just after."""
        return self.worker is not None and clock.monotonic() >= self._doubt_until

    @fault_point("pop")
    def pop(self, seconds: float, at_most: int | None = None) -> list[UUID]:
        """The next messages of one queue; none when there are none, Redis is away or suspended.

        Several only at once: what comes after waiting is one.
        """
        if not self.connected() or self.worker is None:
            return []
        try:
            self._look_around(self.worker)
            ids = self._take(self.worker, at_most)
            if ids or self.suspended or not seconds or self.worker.has_new_queues:
                return ids
            return self._wait(self.worker, seconds)
        except RedisError as error:
            self._away(error)
            return []

    def _take(self, worker: RQWorker, at_most: int | None) -> list[UUID]:
        with self._lock:
            finished, self._finished = self._finished, Finished()

        def size(rq_queue: str) -> int:
            wanted = self.size(rq_queue)
            return wanted if at_most is None else min(wanted, at_most)

        taken = worker.exchange(finished, size)
        self.suspended = taken.suspended
        if worker.has_new_queues:
            # One of them may have a higher priority.
            self._look_at = 0.0
        return taken.ids

    def _wait(self, worker: RQWorker, seconds: float) -> list[UUID]:
        """Wait for a message of a queue for which there is room."""
        running = self.running()
        if running is not None:
            worker.begin(running)
        # First: who makes room from here on says so.
        self._waits_for_room = True
        names = [name for name in worker.rq_queues if self.size(name)]
        self._waits_for_room = len(names) < len(worker.rq_queues)
        job_id = worker.wait(names, seconds)
        self._waits_for_room = False
        if job_id is None:
            return []
        if self.queues.is_paused(worker.source):
            worker.put_back([job_id])
            return []
        return [job_id] if self.begin(job_id) else []

    def source(self) -> str:
        """The RQ queue of what was taken last; empty once Redis is away."""
        return self.worker.source if self.worker is not None else ""

    def notify(self) -> None:
        """From another thread: there is room for more jobs than before."""
        worker = self.worker
        if worker is None or not self._waits_for_room:
            return
        try:
            worker.wake()
        except RedisError as error:
            logger.debug("It will look by itself: %s", reason(error))

    def begin(self, job_id: UUID, popped: bool = True) -> bool:
        """Show the job as running; False if its message was put back, for the workers are held.

        popped: whether there is such a message; a job from the database has none.
        """
        if self.worker is None:
            return True
        try:
            if self.worker.begin(job_id) or not popped:
                return True
            self.worker.put_back([job_id])
        except RedisError as error:
            # The message is popped and the ledger decides: go on and claim it.
            self._away(error)
            return True
        self.suspended = True
        return False

    def put_back(self, ids: list[UUID]) -> None:
        """Return messages that were popped and not begun; maintenance sends again what is lost
        here.
        """
        if self.worker is None or not ids:
            return
        try:
            self.worker.put_back(ids)
        except RedisError as error:
            self._away(error)

    @fault_point("clean-up")
    def finish(self, ids: list[UUID], runs: list[Run]) -> None:
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
        """Take this child out of RQ's registry."""
        if self.worker is None:
            return
        try:
            self.worker.exchange(self._finished, lambda name: 0)
            self.worker.register_death()  # type: ignore[no-untyped-call]
        except RedisError as error:
            logger.debug("Redis was away at the end: %s", reason(error))

    def _follow_name(self) -> None:
        """Go on under the name that the ledger has now, should it have got another one."""
        if clock.monotonic() < self._name_at:
            return
        self._name_at = clock.monotonic() + LOOK_FOR_NAME_EVERY
        config = self.config
        try:
            identity.reread(config.using)
            named = namespace_of(config.backend, config.using)
        except DISCONNECTED:
            connections[config.using].close()
            return
        finally:
            give_back_connections()
        if self.worker is not None and self.worker.namespace != named:
            self.leave()
            self.worker, self._finished = None, Finished()

    def _connect(self) -> None:
        config = self.config
        try:
            # With the little patience of a push: who asks a Redis that still hangs runs no jobs.
            connection(config.backend).ping()
            redis = connection(config.backend, PATIENCE)
            ask = partial(namespace_of, config.backend, config.using)
            named = retry_until_connected(ask, config.using)
            require(named, redis)
            child = config.child_name(os.getpid())
            self.worker = RQWorker(self.queues.names(), self.queues.rank, child, named, redis)
        except RedisError as error:
            self._away(error)
            return
        if self._missed:
            self._doubt_until = clock.monotonic() + DOUBT_SECONDS
        if self.once_flag.ends():
            logger.info("Redis at %s is back.", describe(self.config.backend))
        self._missed = False

    def _away(self, error: RedisError) -> None:
        self.worker = None
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
