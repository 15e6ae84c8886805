"""What Redis holds of a ledger: the queues in use, the ids that wait in them, and the mark of its
workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from redis import Redis

from ..core import clock
from .messages import (
    LEDGERS_KEY,
    QUEUE_PREFIX,
    QUEUES_KEY,
    SUSPENDED_KEY,
    Namespace,
    Script,
    place_of,
    rq_queue_name,
    run_script,
)

PAGE = 10_000
# Seconds without a worker after which the mark is gone.
MARK_SECONDS = 300
# And so long it stays on the list of those that were here.
LISTED_SECONDS = 30 * 24 * 3600
# Of so many RQ queues of a ledger the empty ones are forgotten.
MANY = 200
# KEYS: the set of queues, then lists. Those that are empty, and so are no keys, leave the set.
FORGET = Script("""
local forgotten = 0
for place = 2, #KEYS do
    if redis.call('EXISTS', KEYS[place]) == 0 then
        forgotten = forgotten + redis.call('SREM', KEYS[1], KEYS[place])
    end
end
return forgotten
""")
# How a worker ranks a queue among others of the same priority; None: it does not serve it.
Rank = Callable[[str], Any]


def in_use(
    queues: Iterable[str], namespace: Namespace, redis: Redis, rank: Rank | None = None
) -> list[str]:
    """The RQ queues in the order in which a worker serves them, strictly by priority.

    queues: always part of the answer. rank: finds and ranks others of this ledger too; without it
    it is only these, in their order.
    """
    order = {name: number for number, name in enumerate(queues)}
    ranked: Rank = order.get if rank is None else rank
    places = {(name, 0): ranked(name) for name in order}
    for key in redis.smembers(QUEUES_KEY):
        rq_queue = namespace.own(text_of(key).removeprefix(QUEUE_PREFIX))
        place = place_of(rq_queue or "")
        # Of two names for one place only ours is in use.
        if rq_queue and rq_queue == rq_queue_name(*place) and ranked(place[0]) is not None:
            places[place] = ranked(place[0])
    found = sorted(places, key=lambda place: (-place[1], places[place]))
    return [rq_queue_name(*place) for place in found]


def waiting_ids(rq_queue: str, namespace: Namespace, redis: Redis) -> set[str]:
    """The ids of the messages that wait in this RQ queue, as they are written there."""
    key, end = namespace.list_key(rq_queue), -1
    found: set[str] = set()
    # From the tail to the head: pops at the head and pushes at the tail then make a page overlap
    # the one before, and never leave an id out.
    while page := redis.lrange(key, end - PAGE + 1, end):
        found.update(map(text_of, page))
        end -= PAGE
    return found


def lengths(queues: Iterable[str], namespace: Namespace, redis: Redis) -> dict[str, int]:
    """How many messages wait for each of these queues, those of all priorities together."""
    names = list(queues)
    rq_queues = in_use(names, namespace, redis)
    with redis.pipeline(transaction=False) as pipeline:
        for rq_queue in rq_queues:
            pipeline.llen(namespace.list_key(rq_queue))
        counts = pipeline.execute()
    found = dict.fromkeys(names, 0)
    for rq_queue, count in zip(rq_queues, counts, strict=True):
        found[place_of(rq_queue)[0]] += count
    return found


def forget_empty(namespace: Namespace, redis: Redis) -> int:
    """Take our empty RQ queues from the set of queues, once there are MANY; how many it took.

    Workers of all queues listen to each in the set, and RQ never takes one out.
    """
    keys = map(text_of, redis.smembers(QUEUES_KEY))
    own_keys = [key for key in keys if namespace.own(key.removeprefix(QUEUE_PREFIX)) is not None]
    if len(own_keys) <= MANY:
        return 0
    parts = [own_keys[start : start + MANY] for start in range(0, len(own_keys), MANY)]

    def forget() -> int:
        return sum(int(FORGET([QUEUES_KEY, *part], [], redis)) for part in parts)

    # Without scripts they stay: a message may come between the look and the removal.
    return run_script(forget, lambda: 0, redis)


def is_suspended(redis: Redis) -> bool:
    """Whether `rq suspend` holds all workers."""
    return bool(redis.exists(SUSPENDED_KEY))


def is_marked(namespace: Namespace, redis: Redis) -> bool:
    """Whether Redis still has what this ledger's workers left there; a wiped one has not."""
    return bool(redis.exists(namespace.marker_key))


def mark(namespace: Namespace, about: str, redis: Redis) -> None:
    """Leave the mark, for MARK_SECONDS, and stay on the list of the ledgers that are here.

    about: tells the operators of others which database this is.
    """
    now = clock.now().timestamp()
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.zadd(LEDGERS_KEY, {namespace.name: now})
        pipeline.zremrangebyscore(LEDGERS_KEY, 0, now - LISTED_SECONDS)
        pipeline.set(namespace.marker_key, about or "-", ex=MARK_SECONDS)
        pipeline.execute()


def text_of(raw: bytes | str) -> str:
    """What Redis gave, as text; what is none is made visible."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
