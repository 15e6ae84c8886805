"""What other queues have in their Redis, read for `bgimport`. Nothing is written there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from redis import Redis

Scored = list[tuple[bytes, float]]


class ForeignRedis:
    """The Redis of another queue. place: where it is, without the password."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        values = redis.connection_pool.connection_kwargs
        host = values.get("host") or values.get("path", "?")
        self.place = f"redis {host}:{values.get('port', '')} database {values.get('db') or 0}"

    @classmethod
    def at(cls, url: str | None = None, **options: Any) -> ForeignRedis:
        """The Redis at a URL, or of the options that redis-py takes."""
        options = {name: value for name, value in options.items() if value is not None}
        return cls(Redis.from_url(url, **options) if url else Redis(**options))

    @classmethod
    def of_cache(cls, name: str) -> ForeignRedis:
        """That of a django-redis cache."""
        return cls(import_module("django_redis").get_redis_connection(name))

    def items(self, key: str) -> list[bytes]:
        """The items of a list, or of a sorted set in its order; none if there is no such key."""
        if self._kind(key) == "zset":
            return [item for item, _score in self.scored(key)]
        found: Any = self._redis.lrange(key, 0, -1) if self._kind(key) == "list" else []
        return list(found)

    def is_sorted(self, key: str) -> bool:
        """Whether the key is a sorted set."""
        return self._kind(key) == "zset"

    def scored(self, key: str) -> Scored:
        """The items of a sorted set, with their scores."""
        found: Any = self._redis.zrange(key, 0, -1, withscores=True)
        return list(found)

    def members(self, key: str) -> list[str]:
        """The members of a set, in alphabetical order."""
        found: Any = self._redis.smembers(key)
        return sorted(member.decode() for member in found)

    def fields(self, key: str) -> Mapping[str, bytes]:
        """The fields of a hash."""
        found: Any = self._redis.hgetall(key)
        return {name.decode(): value for name, value in found.items()}

    def count(self, key: str) -> int:
        """How many items a sorted set has."""
        found: Any = self._redis.zcard(key)
        return int(found)

    def _kind(self, key: str) -> str:
        found: Any = self._redis.type(key)
        return str(found.decode())
