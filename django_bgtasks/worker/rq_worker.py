"""The RQ side of a job child: registered in Redis as RQ's tools expect, and lean.

Only the seams that RQ's own worker has for its registration are used (birth, heartbeat, death).
Nothing that Redis says is executed: no job is fetched, no command channel is listened to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from redis import Redis
from rq import worker_registration
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import now, utcformat
from rq.worker import SimpleWorker, WorkerStatus

from ..core.faultpoints import fault_point
from ..core.states import State
from ..flow.execute import Run
from ..transport.depth import in_use
from ..transport.messages import QUEUES_KEY, SUSPENDED_KEY, job_id_of, message_key, queue_key


class RQWorker(SimpleWorker):
    """One job child, seen by `rq info` and `rq.Worker.all()`."""

    def __init__(self, queues: Sequence[str], name: str, redis: Redis) -> None:
        self._popped_from: str | bytes = b""
        self._queues_seen = 0
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

    @fault_point("pop")
    def pop(self, seconds: int) -> UUID | None:
        """The id of the next message, after at most so many seconds; 0 does not wait.

        Strictly in the order of the queues. What is not an id is dropped: there is no such job.
        """
        keys = [queue_key(name) for name in self.queue_names()]
        popped: Any
        if seconds:
            popped = self.connection.blpop(keys, seconds)
        else:
            popped = next(((k, raw) for k in keys if (raw := self.connection.lpop(k))), None)
        if popped is None:
            return None
        self._popped_from = popped[0]
        return job_id_of(popped[1])

    def begin(self, job_id: UUID) -> bool:
        """Show the job as running. False if the workers are suspended: it must wait."""
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.exists(SUSPENDED_KEY)
            pipeline.hset(
                self.key, mapping={"state": WorkerStatus.BUSY.value, "current_job": str(job_id)}
            )
            suspended: list[Any] = pipeline.execute()
        return not suspended[0]

    @fault_point("clean-up")
    def finish(self, job_id: UUID, done: Run | None) -> bool:
        """Forget the message: the ledger knows the rest. `done` is None if its job was not run.

        Returns whether there are more queues now: one of them may have a higher priority.
        """
        with self.connection.pipeline(transaction=False) as pipeline:
            if done is None or done.job.state != State.QUEUED:
                # A job that runs again at once has a new message by now.
                pipeline.delete(message_key(job_id))
            pipeline.hset(self.key, "state", WorkerStatus.IDLE.value)
            pipeline.hdel(self.key, "current_job")
            if done is not None:
                succeeded = done.job.state == State.SUCCEEDED
                counter = "successful_job_count" if succeeded else "failed_job_count"
                pipeline.hincrby(self.key, counter, 1)
            pipeline.scard(QUEUES_KEY)
            before, self._queues_seen = self._queues_seen, int(pipeline.execute()[-1])
        return before != self._queues_seen

    def put_back(self, job_id: UUID) -> None:
        """Return the message that was popped last to the head of its queue."""
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.lpush(self._popped_from, str(job_id))
            pipeline.hdel(self.key, "current_job")
            pipeline.execute()

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
