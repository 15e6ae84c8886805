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

from ..core import clock
from ..core.faultpoints import fault_point
from .names import Namespace, rq_queue_name
from .script import Script, run_script

FUNCTION = "django_bgtasks.transport.messages.run_by_bgworker"
QUEUES_KEY = "rq:queues"
SUSPENDED_KEY = "rq:suspended"
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
        """The RQ queue of this message, without the name of the ledger."""
        return rq_queue_name(self.queue, self.priority)


def message_key(job_id: UUID | str) -> str:
    """The Redis hash of a message."""
    return f"rq:job:{job_id}"


def job_id_of(raw: Any) -> UUID | None:
    """The job id in what was popped; None for anything that is not one."""
    try:
        return UUID(raw.decode("ascii") if isinstance(raw, bytes) else raw)
    except (ValueError, AttributeError, UnicodeDecodeError):
        return None


# KEYS: the list, the set of queues, the mark that workers leave. ARGV: what all have in common,
# which is data before and after the id, description, origin, time, seconds to keep; then the ids.
# An id comes into the list last, so that whoever pops it finds its hash.
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
return redis.call('EXISTS', KEYS[3])
""")
_CALL = json.dumps([FUNCTION, None, ["\0"], {}]).split("\\u0000")


@fault_point("push")
def push(messages: Iterable[Message], namespace: Namespace, redis: Redis) -> bool:
    """Push the messages in their order, in one trip: a command for those of one task and queue.

    Returns whether workers of this ledger have been there lately. Raises RedisError; the rows
    stand all the same.
    """
    parts = [_pushed(kind, part, namespace) for kind, part in _parts(messages)]
    if not parts:
        return True
    return run_script(lambda: _push(parts, redis), lambda: _push_plainly(parts, redis), redis)


def _push(parts: list[tuple[list[str], list[Any]]], redis: Redis) -> bool:
    if len(parts) == 1:
        return bool(PUSH(*parts[0], redis))
    with redis.pipeline(transaction=False) as pipeline:
        for keys, args in parts:
            PUSH.queue(keys, args, pipeline)
        return bool(pipeline.execute()[-1])


def _push_plainly(parts: list[tuple[list[str], list[Any]]], redis: Redis) -> bool:
    """The same without a script; in this order too an id comes after its hash."""
    with redis.pipeline(transaction=False) as pipeline:
        for keys, (before, after, description, origin, time, seconds, *ids) in parts:
            values: dict[Any, Any] = {"created_at": time, "enqueued_at": time, "status": "queued"}
            values |= {"description": description, "origin": origin}
            for job_id in ids:
                values["data"] = f"{before}{job_id}{after}"
                pipeline.hset(message_key(job_id), mapping=values)
                pipeline.expire(message_key(job_id), seconds)
            pipeline.rpush(keys[0], *ids)
            pipeline.sadd(keys[1], keys[0])
        pipeline.exists(parts[0][0][2])
        return bool(pipeline.execute()[-1])


def _parts(messages: Iterable[Message]) -> Iterator[tuple[tuple[str, str], list[Message]]]:
    """Messages of one task and RQ queue, not so many that all others would wait for the command."""
    for kind, group in groupby(messages, key=_kind):
        alike = list(group)
        for start in range(0, len(alike), AT_ONCE):
            yield kind, alike[start : start + AT_ONCE]


def _pushed(
    kind: tuple[str, str], group: list[Message], namespace: Namespace
) -> tuple[list[str], list[Any]]:
    """The keys and arguments for messages of one task and RQ queue."""
    rq_queue, task = kind
    # As RQ writes a time.
    now = clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    ids = [str(message.job_id) for message in group]
    keys = [namespace.list_key(rq_queue), QUEUES_KEY, namespace.marker_key]
    return keys, [*_CALL, task, namespace.rq_queue(rq_queue), now, MESSAGE_SECONDS, *ids]


def _kind(message: Message) -> tuple[str, str]:
    return message.rq_queue, message.task


def run_by_bgworker(job_id: str) -> None:
    """What a message names as its function; only `manage.py bgworker` can run a job."""
    raise RuntimeError(
        f"Job {job_id} belongs to django_bgtasks. Run it with `python manage.py bgworker`, "
        f"not with another RQ worker."
    )
