"""The RQ side of a job process: registered in Redis as RQ's tools expect, and lean.

Only the seams that RQ's own worker has for its registration are used (birth, heartbeat, death).
Nothing that Redis says is executed: no job is fetched, no command channel is listened to.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from redis import Redis
from rq import worker_registration
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import now, utcformat
from rq.worker import SimpleWorker, WorkerStatus

from ..core import clock
from .messages import (
    AHEAD_SECONDS,
    MESSAGE_SECONDS,
    QUEUES_KEY,
    SUSPENDED_KEY,
    Namespace,
    job_id_of,
    message_key,
)
from .queues import Rank, in_use
from .sender import Outgoing

# So long a wake-up call stays that nobody waits for any more.
WAKE_SECONDS = 10

# KEYS: the worker, the message. ARGV: the job id. RQ's tools fetch the current job, and fail where
# there is none.
BEGIN = """
redis.call('HSET', KEYS[1], 'state', 'busy')
if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('HSET', KEYS[1], 'current_job', ARGV[1])
else
    redis.call('HDEL', KEYS[1], 'current_job')
end
return 1
"""


class RQWorker(SimpleWorker):
    """One job process, seen by `rq info` and `rq.Worker.all()`.

    rq_queues: those that it listens to, without the name of the ledger.
    """

    def __init__(
        self, queues: Sequence[str], rank: Rank, process: str, namespace: Namespace, redis: Redis
    ) -> None:
        self.namespace, self.rank = namespace, rank
        self.rq_queues = in_use(queues, namespace, redis, rank)
        self._wake_key = namespace.key(f"wake:{process}")
        pool = redis.connection_pool
        self._waiting = Redis(connection_pool=pool, single_connection_client=True)
        super().__init__(
            [namespace.rq_queue(rq_queue) for rq_queue in self.rq_queues],
            name=namespace.worker(process),
            connection=redis,
            serializer=JSONSerializer,
        )
        self._register(WorkerStatus.IDLE)

    def _set_connection(self, connection: Redis) -> Redis:
        # RQ would wait minutes for the reply of a Redis that is gone.
        return connection

    def _set_ip_address(self, connection: Redis) -> None:
        # RQ warns of an ACL that forbids it to ask, and does without.
        with warnings.catch_warnings(action="ignore"):
            super()._set_ip_address(connection)

    def look_around(self, queues: Sequence[str]) -> bool:
        """Notice new queues and priorities. True while `rq suspend` holds the workers."""
        # A Redis that takes no writes still answers: then jobs come only by the database.
        self.connection.hset(self.key, "last_heartbeat", utcformat(now()))
        if not self.connection.sismember(worker_registration.REDIS_WORKER_KEYS, self.key):
            # Redis was wiped, and this worker with it.
            self._register(self._state)
        rq_queues = in_use(queues, self.namespace, self.connection, self.rank)
        if rq_queues != self.rq_queues:
            self._listen_to(rq_queues)
        suspended = bool(self.connection.exists(SUSPENDED_KEY))
        if suspended != (self._state == WorkerStatus.SUSPENDED):
            self.set_state(WorkerStatus.SUSPENDED if suspended else WorkerStatus.IDLE)
        return suspended

    def wait(self, rq_queues: Sequence[str], seconds: float) -> tuple[str, UUID | None, bool]:
        """The next message of these RQ queues: its queue and job id, or None after these seconds.

        None also after wake(). And whether the workers are suspended by then: it comes with the
        message, so that nobody has to ask for it before the job begins.
        """
        keys = [*map(self.namespace.list_key, rq_queues), self._wake_key]
        commands = [("BLPOP", *keys, seconds), ("EXISTS", SUSPENDED_KEY)]
        # Not by a pipeline: between the message and its job are the two answers and nothing else.
        connection: Any = self._waiting.connection
        try:
            if connection.can_read():
                # It was closed meanwhile.
                connection.disconnect()
            connection.send_packed_command(connection.pack_commands(commands))
            popped, suspended = connection.read_response(), connection.read_response()
        except BaseException:
            connection.disconnect()
            raise
        if popped is None or popped[0] == self._wake_key.encode():
            return "", None, bool(suspended)
        source = popped[0].decode().removeprefix(self.namespace.list_key(""))
        return source, job_id_of(popped[1]), bool(suspended)

    def wake(self) -> None:
        """End a wait() of another thread."""
        with self.connection.pipeline() as pipeline:
            pipeline.lpush(self._wake_key, 1)
            pipeline.expire(self._wake_key, WAKE_SECONDS)
            pipeline.execute()

    def begin(self, job_id: UUID) -> Outgoing:
        """What shows the job as running, for RQ's tools alone: nobody waits for it."""
        return Outgoing(partial(self._begin, job_id))

    def _begin(self, job_id: UUID, by_script: bool) -> Iterator[tuple[Any, ...]]:
        if by_script:
            yield ("EVAL", BEGIN, "2", self.key, message_key(job_id), str(job_id))
        else:
            yield ("HSET", self.key, "state", WorkerStatus.BUSY.value)
            yield ("HDEL", self.key, "current_job")

    def ahead(self, ids: Sequence[UUID], looked_at: float) -> list[UUID]:
        """Those of these jobs whose messages were so new at that time, by the monotonic clock, that
        their rows may have been on their way. Redis knows since when it keeps a message.
        """
        with self.connection.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.pttl(message_key(job_id))
            left = pipeline.execute()
        oldest = AHEAD_SECONDS + clock.monotonic() - looked_at
        ages = [MESSAGE_SECONDS - milliseconds / 1000 for milliseconds in left]
        # Less than none: the clock of Redis was put back.
        return [job_id for job_id, age in zip(ids, ages, strict=True) if 0 <= age < oldest]

    def put_back(self, rq_queue: str, ids: Sequence[UUID]) -> None:
        """Return messages to the head of the RQ queue that they came from, in their order."""
        key = self.namespace.list_key(rq_queue)
        with self.connection.pipeline() as pipeline:
            pipeline.lpush(key, *map(str, reversed(ids)))
            # It may have been forgotten while it was empty.
            pipeline.sadd(QUEUES_KEY, key)
            pipeline.execute()

    def _register(self, state: str) -> None:
        # One of this name is another life of this process id, which has not been taken out yet.
        self.connection.delete(self.key)
        self.register_birth()  # type: ignore[no-untyped-call]
        self.set_state(state)

    def _listen_to(self, rq_queues: list[str]) -> None:
        names = [self.namespace.rq_queue(rq_queue) for rq_queue in rq_queues]
        self.rq_queues = rq_queues
        self.queues = [
            Queue(name, connection=self.connection, serializer=JSONSerializer) for name in names
        ]
        self._ordered_queues = self.queues[:]
        with self.connection.pipeline() as pipeline:
            worker_registration.register(self, pipeline)
            pipeline.hset(self.key, "queues", ",".join(names))
            pipeline.execute()
