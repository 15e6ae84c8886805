"""Who else uses this Redis database: other ledgers, and plain RQ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis import Redis

from .messages import LEDGERS_KEY, QUEUE_PREFIX, QUEUES_KEY, Namespace
from .queues import text_of
from .registry import WORKER_KEY, names_of


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One of them. name: of a ledger's backend; empty for plain RQ.

    about: its database. alive: whether workers of it were heard of within minutes. messages: all
    that wait in its queues. workers: RQ workers that are registered.
    """

    name: str
    about: str
    alive: bool
    queues: int
    messages: int
    workers: int


def neighbours(namespace: Namespace, redis: Redis) -> list[Neighbour]:
    """The others in this Redis database. Raises RedisError."""
    listed: Any = redis.zrange(LEDGERS_KEY, 0, -1)
    ledgers = [name for name in map(text_of, listed) if not namespace.is_of_ledger(name)]
    queues = [text_of(key).removeprefix(QUEUE_PREFIX) for key in redis.smembers(QUEUES_KEY)]
    workers = [name for name in names_of(redis) if redis.exists(WORKER_KEY.format(name))]
    found = [_ledger(name, queues, workers, redis) for name in ledgers]
    starts = tuple(f"{name}:" for name in ledgers)

    def plain(names: Iterable[str]) -> list[str]:
        others = (name for name in names if not namespace.is_of_ledger(name))
        return [name for name in others if not name.startswith(starts)]

    others = _counted("", "", plain(queues), plain(workers), redis)
    return [*found, others] if others.queues or others.workers else found


def strangers(namespace: Namespace, known: Iterable[str], redis: Redis) -> set[str]:
    """The living RQ workers that go by this ledger's name and end in none of these.

    known: the ends of all workers' ids that the ledger has.
    """
    own = {name for name in names_of(redis) if namespace.is_of_ledger(name)}
    unknown = {name for name in own if name.rpartition(".")[2] not in set(known)}
    # RQ lists a worker until somebody looks; this key expires by itself.
    return {name for name in unknown if redis.exists(WORKER_KEY.format(name))}


def _ledger(name: str, queues: list[str], workers: list[str], redis: Redis) -> Neighbour:
    start, about = f"{name}:", redis.get(Namespace(name, name).marker_key)
    own = [queue for queue in queues if queue.startswith(start)]
    workers = [worker for worker in workers if worker.startswith(start)]
    return _counted(name, text_of(about or b""), own, workers, redis)


def _counted(
    name: str, about: str, queues: list[str], workers: list[str], redis: Redis
) -> Neighbour:
    with redis.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.llen(f"{QUEUE_PREFIX}{queue}")
        # A key that is no list counts for nothing.
        lengths: list[Any] = pipeline.execute(raise_on_error=False)
    filled = [length for length in lengths if isinstance(length, int) and length]
    return Neighbour(name, about, bool(about), len(filled), sum(filled), len(workers))
