"""The message: an RQ job that carries a job's id and nothing else.

RQ's own tools can show it; nothing in it is ever believed. The function is the same constant for
every message, the only argument is the id, and a worker reads neither from Redis.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from redis import Redis
from rq.queue import Queue

from ..core import clock
from ..core.faultpoints import fault_point
from .script import Script

FUNCTION = "django_bgtasks.transport.messages.run_by_bgworker"
QUEUES_KEY = "rq:queues"
SUSPENDED_KEY = "rq:suspended"
# A wiped Redis has lost this key; workers then send all queued jobs again.
MARKER_KEY = "bgtasks:alive"
# A message nobody takes must not stay for ever; the ledger has the job.
MESSAGE_SECONDS = 7 * 24 * 3600
# While a script runs Redis serves nobody else, and its client does not wait for ever.
AT_ONCE = 1000


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


# KEYS: the list, the set of queues. ARGV: what all have in common, which is data before and after
# the id, description, origin, time, seconds to keep; then the ids. An id comes into the list last,
# so that whoever pops it finds its hash.
PUSH = Script("""
for place = 7, #ARGV do
    local id = ARGV[place]
    local key = 'rq:job:' .. id
    redis.call('HSET', key, 'created_at', ARGV[5], 'enqueued_at', ARGV[5], 'status', 'queued',
        'data', ARGV[1] .. id .. ARGV[2], 'description', ARGV[3], 'origin', ARGV[4])
    redis.call('EXPIRE', key, ARGV[6])
    redis.call('RPUSH', KEYS[1], id)
end
redis.call('SADD', KEYS[2], KEYS[1])
""")
_CALL = json.dumps([FUNCTION, None, ["\0"], {}]).split("\\u0000")


@fault_point("push")
def push(messages: Iterable[Message], redis: Redis) -> None:
    """Push the messages in their order, in one trip: a command for those of one task and queue.

    Raises RedisError; the rows stand all the same.
    """
    parts = list(_parts(messages))
    if len(parts) == 1:
        PUSH(*_pushed(*parts[0]), redis)
        return
    with redis.pipeline(transaction=False) as pipeline:
        for kind, part in parts:
            PUSH.queue(*_pushed(kind, part), pipeline)
        pipeline.execute()


def _parts(messages: Iterable[Message]) -> Iterator[tuple[tuple[str, str], list[Message]]]:
    """Messages of one task and RQ queue, not so many that all others would wait for the command."""
    for kind, group in groupby(messages, key=_kind):
        alike = list(group)
        for start in range(0, len(alike), AT_ONCE):
            yield kind, alike[start : start + AT_ONCE]


def _pushed(kind: tuple[str, str], group: list[Message]) -> tuple[list[str], list[Any]]:
    """The keys and arguments for messages of one task and RQ queue."""
    rq_queue, task = kind
    # As RQ writes a time.
    now = clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    ids = [str(message.job_id) for message in group]
    keys = [queue_key(rq_queue), QUEUES_KEY]
    return keys, [*_CALL, task, rq_queue, now, MESSAGE_SECONDS, *ids]


def _kind(message: Message) -> tuple[str, str]:
    return message.rq_queue, message.task


def run_by_bgworker(job_id: str) -> None:
    """What a message names as its function; only `manage.py bgworker` can run a job."""
    raise RuntimeError(
        f"Job {job_id} belongs to django_bgtasks. Run it with `python manage.py bgworker`, "
        f"not with another RQ worker."
    )
