"""The RQ side of a job child: registered in Redis as RQ's tools expect, and lean.

Only the seams that RQ's own worker has for its registration are used (birth, heartbeat, death).
Nothing that Redis says is executed: no job is fetched, no command channel is listened to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from redis import Redis
from rq import worker_registration
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import as_text, now, utcformat
from rq.worker import SimpleWorker, WorkerStatus

from ..transport.depth import in_use
from ..transport.exchange import Finished, Taken, exchange
from ..transport.messages import SUSPENDED_KEY, job_id_of, queue_key

# So long a wake-up call stays that nobody waits for any more.
WAKE_SECONDS = 10


class RQWorker(SimpleWorker):
    """One job child, seen by `rq info` and `rq.Worker.all()`."""

    def __init__(self, queues: Sequence[str], name: str, redis: Redis) -> None:
        self._popped_from: str | bytes = b""
        self._wake_key = f"bgtasks:wake:{name}"
        self._queues_seen = 0
        self.has_new_queues = False
        super().__init__(
            in_use(queues, redis), name=name, connection=redis, serializer=JSONSerializer
        )
        self.register_birth()  # type: ignore[no-untyped-call]
        self.set_state(WorkerStatus.IDLE)

    def _set_connection(self, connection: Redis) -> Redis:
        # RQ would wait minutes for the reply of a Redis that is gone.
        return connection

    def look_around(self, queues: Sequence[str]) -> bool:
        """Notice new queues and priorities. True while `rq suspend` holds the workers."""
        # A Redis that takes no writes still answers: then jobs come only by the database.
        self.connection.hset(self.key, "last_heartbeat", utcformat(now()))
        if not self.connection.sismember(worker_registration.REDIS_WORKER_KEYS, self.key):
            self._register_again()
        names = in_use(queues, self.connection)
        if names != self.queue_names():
            self._listen_to(names)
        suspended = bool(self.connection.exists(SUSPENDED_KEY))
        if suspended != (self._state == WorkerStatus.SUSPENDED):
            self.set_state(WorkerStatus.SUSPENDED if suspended else WorkerStatus.IDLE)
        return suspended

    def exchange(self, finished: Finished, size: Callable[[str], int]) -> Taken:
        """Forget finished messages and take the next, strictly in the order of the queues.

        size: how many to take of an RQ queue.
        """
        names = self.queue_names()
        taken = exchange(self.key, finished, names, [size(name) for name in names], self.connection)
        self._popped_from = queue_key(taken.source)
        self.has_new_queues = taken.queues != self._queues_seen
        self._queues_seen = taken.queues
        return taken

    @property
    def source(self) -> str:
        """The RQ queue of what was taken last."""
        key: str = as_text(self._popped_from) or ""
        return key.removeprefix(queue_key(""))

    def wait(self, names: Sequence[str], seconds: float) -> UUID | None:
        """The id of the next message of these RQ queues, after at most so many seconds.

        None also after wake().
        """
        keys = [*map(queue_key, names), self._wake_key]
        popped: Any = self.connection.blpop(keys, seconds)
        if popped is None or popped[0] == self._wake_key.encode():
            return None
        self._popped_from = popped[0]
        return job_id_of(popped[1])

    def wake(self) -> None:
        """End a wait() of another thread."""
        with self.connection.pipeline() as pipeline:
            pipeline.lpush(self._wake_key, 1)
            pipeline.expire(self._wake_key, WAKE_SECONDS)
            pipeline.execute()

    def begin(self, job_id: UUID) -> bool:
        """Show the job as running. False if the workers are suspended: it must wait."""
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.exists(SUSPENDED_KEY)
            pipeline.hset(
                self.key, mapping={"state": WorkerStatus.BUSY.value, "current_job": str(job_id)}
            )
            suspended: list[Any] = pipeline.execute()
        return not suspended[0]

    def put_back(self, ids: Sequence[UUID]) -> None:
        """Return messages that were taken last to the head of their queue, in their order."""
        self.connection.lpush(self._popped_from, *map(str, reversed(ids)))

    def _register_again(self) -> None:
        """Redis was wiped, and this worker with it."""
        self.connection.delete(self.key)
        self.register_birth()  # type: ignore[no-untyped-call]
        self.set_state(self._state)

    def _listen_to(self, names: Sequence[str]) -> None:
        self.queues = [
            Queue(name, connection=self.connection, serializer=JSONSerializer) for name in names
        ]
        self._ordered_queues = self.queues[:]
        with self.connection.pipeline() as pipeline:
            worker_registration.register(self, pipeline)
            pipeline.hset(self.key, "queues", ",".join(names))
            pipeline.execute()
