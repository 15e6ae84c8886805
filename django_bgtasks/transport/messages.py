"""The message: an RQ job that carries a job's id and nothing else.

RQ's own tools can show it; nothing in it is ever believed. The function is the same constant for
every message, the only argument is the id, and a worker reads neither from Redis.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis import Redis
from rq.queue import Queue
from rq.utils import now, utcformat

from ..core.faultpoints import fault_point

FUNCTION = "django_bgtasks.transport.messages.run_by_bgworker"
QUEUES_KEY = "rq:queues"
SUSPENDED_KEY = "rq:suspended"
# A wiped Redis has lost this key; workers then send all queued jobs again.
MARKER_KEY = "bgtasks:alive"
# A message nobody takes must not stay for ever; the ledger has the job.
MESSAGE_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Message:
    """Where the message of one job goes, and what RQ's tools show of it."""

    job_id: UUID
    queue: str
    priority: int
    task: str

    @property
    def rq_queue(self) -> str:
        """The RQ queue of this message."""
        return rq_queue_name(self.queue, self.priority)


def rq_queue_name(queue: str, priority: int) -> str:
    """Each priority in use is an RQ queue of its own: `emails`, `emails-p50`, `emails-m10`."""
    if not priority:
        return queue
    return f"{queue}-{'p' if priority > 0 else 'm'}{abs(priority)}"


def queue_key(rq_queue: str) -> str:
    """The Redis list of an RQ queue."""
    return f"{Queue.redis_queue_namespace_prefix}{rq_queue}"


def message_key(job_id: UUID | str) -> str:
    """The Redis hash of a message."""
    return f"rq:job:{job_id}"


def job_id_of(raw: Any) -> UUID | None:
    """The job id in what was popped; None for anything that is not one."""
    try:
        return UUID(raw.decode("ascii") if isinstance(raw, bytes) else raw)
    except (ValueError, AttributeError, UnicodeDecodeError):
        return None


@fault_point("push")
def push(messages: Iterable[Message], redis: Redis) -> None:
    """Push the messages in one pipeline. Raises RedisError; the rows stand all the same."""
    created = utcformat(now())
    with redis.pipeline(transaction=False) as pipeline:
        for message in messages:
            key = message_key(message.job_id)
            pipeline.hset(key, mapping=_hash(message, created))
            pipeline.expire(key, MESSAGE_SECONDS)
            pipeline.sadd(QUEUES_KEY, queue_key(message.rq_queue))
            # Last, so that whoever pops the id finds its hash.
            pipeline.rpush(queue_key(message.rq_queue), str(message.job_id))
        pipeline.execute()


def run_by_bgworker(job_id: str) -> None:
    """What a message names as its function; only `manage.py bgworker` can run a job."""
    raise RuntimeError(
        f"Job {job_id} belongs to django_bgtasks. Run it with `python manage.py bgworker`, "
        f"not with another RQ worker."
    )


def _hash(message: Message, created: str) -> dict[Any, Any]:
    call = json.dumps([FUNCTION, None, [str(message.job_id)], {}]).encode()
    return {
        "created_at": created,
        "enqueued_at": created,
        "data": zlib.compress(call),
        "description": message.task,
        "origin": message.rq_queue,
        "status": "queued",
    }
