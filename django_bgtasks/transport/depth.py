"""What Redis holds: the queues in use and the ids that wait in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from redis import Redis

from .messages import MARKER_KEY, QUEUES_KEY, SUSPENDED_KEY, queue_key

PAGE = 10_000
_PRIORITY = re.compile(r"(?P<queue>.+?)(?:-(?P<sign>[pm])(?P<size>\d{1,3}))?")


def split(rq_queue: str, queues: Iterable[str]) -> tuple[str, int] | None:
    """The (queue, priority) that an RQ queue stands for; None if it is none of `queues`."""
    names = set(queues)
    if rq_queue in names:
        return rq_queue, 0
    match = _PRIORITY.fullmatch(rq_queue)
    if match is None or match["queue"] not in names or match["sign"] is None:
        return None
    size = int(match["size"])
    return match["queue"], size if match["sign"] == "p" else -size


def in_use(queues: Iterable[str], redis: Redis) -> list[str]:
    """The RQ queues of these queues in the order in which a worker serves them.

    Strictly by priority, then by the order of `queues`, which is always part of the answer.
    """
    order = {name: rank for rank, name in enumerate(queues)}
    found = {(name, 0): name for name in order}
    prefix = queue_key("")
    for key in redis.smembers(QUEUES_KEY):
        rq_queue = _text(key).removeprefix(prefix)
        place = split(rq_queue, order)
        if place is not None:
            found[place] = rq_queue
    ranked = sorted(found, key=lambda place: (-place[1], order[place[0]]))
    return [found[place] for place in ranked]


def held_ids(rq_queue: str, redis: Redis) -> set[str]:
    """The ids of the messages that wait in this RQ queue, as they are written there."""
    return {_text(raw) for page in _pages(queue_key(rq_queue), redis) for raw in page}


def lengths(queues: Iterable[str], redis: Redis) -> dict[str, int]:
    """How many messages wait for each of these queues, those of all priorities together."""
    names = list(queues)
    lines = in_use(names, redis)
    with redis.pipeline(transaction=False) as pipeline:
        for rq_queue in lines:
            pipeline.llen(queue_key(rq_queue))
        counts = pipeline.execute()
    found = dict.fromkeys(names, 0)
    for rq_queue, count in zip(lines, counts, strict=True):
        place = split(rq_queue, names)
        if place is not None:
            found[place[0]] += count
    return found


def is_suspended(redis: Redis) -> bool:
    """Whether `rq suspend` holds all workers."""
    return bool(redis.exists(SUSPENDED_KEY))


def is_marked(redis: Redis) -> bool:
    """Whether Redis still has what upkeep left there; a wiped one has not."""
    return bool(redis.exists(MARKER_KEY))


def mark(redis: Redis) -> None:
    """Leave the mark."""
    redis.set(MARKER_KEY, 1)


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def _pages(key: str, redis: Redis) -> Iterator[list[bytes | str]]:
    # From the tail to the head: pops at the head and pushes at the tail then make a page overlap
    # the one before, and never leave an id out.
    end = -1
    while page := redis.lrange(key, end - PAGE + 1, end):
        yield page
        end -= PAGE
