"""The RQ registration of children that cannot speak for themselves: busy ones and dead ones."""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis
from rq import worker_registration
from rq.defaults import DEFAULT_WORKER_TTL
from rq.utils import as_text, now, utcformat

KEY = "rq:worker:{}"


def keep_alive(names: Iterable[str], redis: Redis) -> None:
    """Renew the heartbeat of these workers: one that runs a long job does not get to it."""
    with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            key = KEY.format(name)
            pipeline.eval(_RENEW, 1, key, utcformat(now()), DEFAULT_WORKER_TTL + 60)
        pipeline.execute()


def shown(redis: Redis) -> dict[str, tuple[str, str]]:
    """The state and the current job's id of each registered worker, by its name."""
    keys = sorted(map(as_text, redis.smembers(worker_registration.REDIS_WORKER_KEYS)))
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hmget(key, "state", "current_job")
        answers = pipeline.execute()
    return {
        key.removeprefix(KEY.format("")): (as_text(state or ""), as_text(job or ""))
        for key, (state, job) in zip(keys, answers, strict=True)
    }


def remove(name: str, redis: Redis) -> None:
    """Take a dead worker out of RQ's registry."""
    key = KEY.format(name)
    queues = as_text(redis.hget(key, "queues") or "").split(",")
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.srem(worker_registration.REDIS_WORKER_KEYS, key)
        for queue in filter(None, queues):
            pipeline.srem(worker_registration.WORKERS_BY_QUEUE_KEY % queue, key)
        pipeline.delete(key)
        pipeline.execute()


def remove_ending(suffixes: tuple[str, ...], redis: Redis) -> int:
    """Take the workers whose names end so out of RQ's registry; how many there were."""
    keys = map(as_text, redis.smembers(worker_registration.REDIS_WORKER_KEYS))
    names = [key.removeprefix(KEY.format("")) for key in keys if key.endswith(suffixes)]
    for name in names:
        remove(name, redis)
    return len(names)


# A hash that has expired must not come back half empty.
_RENEW = """
if redis.call('exists', KEYS[1]) == 1 then
  redis.call('hset', KEYS[1], 'last_heartbeat', ARGV[1])
  redis.call('expire', KEYS[1], ARGV[2])
end
"""
