"""The RQ registration of job processes that cannot renew it themselves: busy and dead ones."""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis
from rq import worker_registration
from rq.defaults import DEFAULT_WORKER_TTL
from rq.utils import as_text, now, utcformat

from .messages import Namespace
from .queues import text_of

WORKER_KEY = "rq:worker:{}"


def keep_alive(names: Iterable[str], redis: Redis) -> None:
    """Renew the heartbeat of these workers: one that runs a long job does not get to it."""
    keys = [WORKER_KEY.format(name) for name in names]
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.expire(key, DEFAULT_WORKER_TTL + 60)
        renewed = pipeline.execute()
    # A hash that has expired must not come back half empty.
    with redis.pipeline(transaction=False) as pipeline:
        for key, is_there in zip(keys, renewed, strict=True):
            if is_there:
                pipeline.hset(key, "last_heartbeat", utcformat(now()))
        pipeline.execute()


def names_of(redis: Redis) -> list[str]:
    """The names of all registered workers, whosever they are."""
    keys = map(text_of, redis.smembers(worker_registration.REDIS_WORKER_KEYS))
    return sorted(key.removeprefix(WORKER_KEY.format("")) for key in keys)


def worker_states(namespace: Namespace, redis: Redis) -> dict[str, tuple[str, str]]:
    """The state and the current job's id of each worker of this backend, by our name for it."""
    names = [own for name in names_of(redis) if (own := namespace.own(name)) is not None]
    with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hmget(WORKER_KEY.format(namespace.worker(name)), "state", "current_job")
        answers = pipeline.execute()
    return {
        name: (as_text(state or ""), as_text(job or ""))
        for name, (state, job) in zip(names, answers, strict=True)
    }


def remove(name: str, redis: Redis) -> None:
    """Take a dead worker out of RQ's registry."""
    key = WORKER_KEY.format(name)
    queues = as_text(redis.hget(key, "queues") or "").split(",")
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.srem(worker_registration.REDIS_WORKER_KEYS, key)
        for queue in filter(None, queues):
            pipeline.srem(worker_registration.WORKERS_BY_QUEUE_KEY % queue, key)
        pipeline.delete(key)
        pipeline.execute()


def remove_ending(endings: tuple[str, ...], namespace: Namespace, redis: Redis) -> None:
    """Take the workers of this ledger whose names end so out of RQ's registry."""
    for name in names_of(redis):
        if namespace.is_of_ledger(name) and name.endswith(endings):
            remove(name, redis)
