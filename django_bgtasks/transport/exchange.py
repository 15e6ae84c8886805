"""One round trip between two groups of jobs: forget the messages of the last, take the next.

A script, so that it is one command, atomic, and tells whether the workers are suspended before
anything is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from redis import Redis

from .messages import QUEUES_KEY, SUSPENDED_KEY, job_id_of, message_key, queue_key
from .script import Script

# KEYS: the worker, the mark of the suspension, the set of queues, then the lists in their order.
# ARGV: successes, failures, how many to take of each list, then the messages to forget.
SCRIPT = Script("""
local lists = #KEYS - 3
for place = 3 + lists, #ARGV do redis.call('DEL', ARGV[place]) end
if ARGV[1] ~= '0' then redis.call('HINCRBY', KEYS[1], 'successful_job_count', ARGV[1]) end
if ARGV[2] ~= '0' then redis.call('HINCRBY', KEYS[1], 'failed_job_count', ARGV[2]) end
local suspended, taken, from = redis.call('EXISTS', KEYS[2]), {}, 0
if suspended == 0 then
    for list = 1, lists do
        local count = tonumber(ARGV[2 + list])
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
    """What became of messages since the last exchange."""

    messages: list[UUID] = field(default_factory=list)
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
    worker: str, finished: Finished, rq_queues: Sequence[str], counts: Sequence[int], redis: Redis
) -> Taken:
    """Forget finished messages, and take up to `counts` ids from the first list that has some."""
    keys = [worker, SUSPENDED_KEY, QUEUES_KEY, *map(queue_key, rq_queues)]
    forget = [message_key(job_id) for job_id in finished.messages]
    suspended, queues, source, raw = SCRIPT(
        keys, [finished.successes, finished.failures, *counts, *forget], redis
    )
    name = rq_queues[source - 1] if source else ""
    return Taken(bool(suspended), queues, name, tuple(raw))
