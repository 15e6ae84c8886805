"""One round trip between two groups of jobs: forget the messages of the last, take the next.

A script, so that it is one command, atomic, and tells whether the workers are suspended before
anything is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from redis import Redis

from .messages import QUEUES_KEY, SUSPENDED_KEY, job_id_of, message_key
from .names import Namespace
from .script import Script, run_script

# KEYS: the worker, the mark of the suspension, the set of queues, then the lists in their order.
# ARGV: successes, failures, how our origins begin, how many messages are to be forgotten only if
# they are ours, how many to take of each list, then the messages to forget, the latter at the end.
SCRIPT = Script("""
local lists = #KEYS - 3
local certain = #ARGV - tonumber(ARGV[4])
for place = 5 + lists, #ARGV do
    local origin = place > certain and redis.pcall('HGET', ARGV[place], 'origin')
    if place <= certain
        or type(origin) == 'string' and string.sub(origin, 1, #ARGV[3]) == ARGV[3]
    then
        redis.call('DEL', ARGV[place])
    end
end
if ARGV[1] ~= '0' then redis.call('HINCRBY', KEYS[1], 'successful_job_count', ARGV[1]) end
if ARGV[2] ~= '0' then redis.call('HINCRBY', KEYS[1], 'failed_job_count', ARGV[2]) end
local suspended, taken, from = redis.call('EXISTS', KEYS[2]), {}, 0
if suspended == 0 then
    for list = 1, lists do
        local count = tonumber(ARGV[4 + list])
        -- To LRANGE, up to -1 would be all of them.
        if count > 0 then taken = redis.call('LRANGE', KEYS[3 + list], 0, count - 1) end
        if #taken > 0 then
            redis.call('LTRIM', KEYS[3 + list], #taken, -1)
            from = list
            break
        end
    end
end
if from > 0 then
    redis.call('HSET', KEYS[1], 'state', 'busy', 'current_job', taken[1])
else
    redis.call('HDEL', KEYS[1], 'current_job')
    if suspended == 0 then redis.call('HSET', KEYS[1], 'state', 'idle') end
end
return {suspended, redis.call('SCARD', KEYS[3]), from, taken}
""")


@dataclass(slots=True)
class Finished:
    """What became of messages since the last exchange.

    messages: of jobs that were claimed. unclaimed: of which there was nothing to claim, so that
    they may be anybody's.
    """

    messages: list[UUID] = field(default_factory=list)
    unclaimed: list[UUID] = field(default_factory=list)
    successes: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What an exchange gave. queues: how many RQ queues are in use. raw: of what was taken."""

    suspended: bool
    queues: int
    source: str = ""
    raw: tuple[bytes, ...] = ()

    @property
    def ids(self) -> list[UUID]:
        """The job ids; what is not an id is dropped: there is no such job."""
        return [job_id for one in self.raw if (job_id := job_id_of(one)) is not None]


def exchange(
    worker: str,
    finished: Finished,
    rq_queues: Sequence[str],
    counts: Sequence[int],
    namespace: Namespace,
    redis: Redis,
) -> Taken:
    """Forget finished messages, and take up to `counts` ids from the first list that has some."""
    lists = [namespace.list_key(rq_queue) for rq_queue in rq_queues]
    keys = [worker, SUSPENDED_KEY, QUEUES_KEY, *lists]
    forget = [message_key(job_id) for job_id in (*finished.messages, *finished.unclaimed)]
    start, unclaimed = namespace.rq_queue(""), len(finished.unclaimed)
    args = [finished.successes, finished.failures, start, unclaimed, *counts, *forget]
    suspended, queues, source, raw = run_script(
        lambda: SCRIPT(keys, args, redis), lambda: _plainly(keys, args, redis), redis
    )
    name = rq_queues[source - 1] if source else ""
    return Taken(bool(suspended), queues, name, tuple(raw))


def _plainly(
    keys: Sequence[str], args: Sequence[Any], redis: Redis
) -> tuple[bool, int, int, Sequence[bytes]]:
    """The same without a script, in a few trips: what was popped twice is claimed once."""
    worker, lists = keys[0], keys[3:]
    successes, failures, start, unclaimed = args[:4]
    counts, forget = args[4 : 4 + len(lists)], args[4 + len(lists) :]
    certain = len(forget) - unclaimed
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.exists(keys[1])
        pipeline.scard(keys[2])
        for key in lists:
            pipeline.llen(key)
        for key in forget[certain:]:
            pipeline.hget(key, "origin")
        suspended, queues, *found = pipeline.execute()
    origins = zip(forget[certain:], found[len(lists) :], strict=True)
    ours = [key for key, origin in origins if (origin or b"").startswith(start.encode())]
    filled = enumerate(zip(counts, found, strict=False))
    source = next((n + 1 for n, (count, size) in filled if count and size), 0)
    taken: list[bytes] = []
    if source and not suspended:
        taken = _pop(lists[source - 1], counts[source - 1], redis)
    with redis.pipeline(transaction=False) as pipeline:
        for key in (*forget[:certain], *ours):
            pipeline.delete(key)
        pipeline.hincrby(worker, "successful_job_count", successes)
        pipeline.hincrby(worker, "failed_job_count", failures)
        if taken:
            pipeline.hset(worker, mapping={"state": "busy", "current_job": taken[0]})
        else:
            pipeline.hdel(worker, "current_job")
            if not suspended:
                pipeline.hset(worker, "state", "idle")
        pipeline.execute()
    return suspended, queues, source if taken else 0, taken


def _pop(key: str, count: int, redis: Redis) -> list[bytes]:
    with redis.pipeline() as pipeline:
        pipeline.lrange(key, 0, count - 1)
        pipeline.ltrim(key, count, -1)
        taken: list[bytes] = pipeline.execute()[0]
    return taken
