"""Where Redis is: the one module that knows. It connects lazily and never at import."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis import ConnectionPool, Redis, __version__
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    NoPermissionError,
    RedisError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from ..core import clock
from ..core.messages import Reason
from ..core.options import CACHED, backend_settings

# What only a cluster answers.
CLUSTER_ERRORS = (ClusterCrossSlotError, ClusterDownError, AskError)
DEFAULT_URL = "redis://127.0.0.1:6379/0"
# The cache that is used before all others, if CACHES has it: nothing else stores anything there.
OWN_CACHE = "bgtasks"
# A Redis that has not answered after this is taken for one that is away.
PUSH_SECONDS = 1.0
# A site under development need not name a Redis. So often a process looks for one at the default
# address, below the time for which a worker that finds one looks into the database all the same.
LOOK_EVERY, LOOK_SECONDS = 4.0, 0.1
_looks: dict[str, tuple[bool, float]] = {}
_pools: WeakSet[ConnectionPool] = WeakSet()
__all__ = ["AuthenticationError", "Redis", "RedisError"]


def cache_name(backend: str) -> str | None:
    """The alias of the django-redis cache that a backend uses; None if there is none."""
    cache = backend_settings(backend).options.cache
    if cache is not None:
        if cache not in settings.CACHES:
            raise ImproperlyConfigured(
                f"TASKS[{backend!r}]['OPTIONS']['cache'] is {cache!r}, which CACHES does not have."
            )
        return cache
    if OWN_CACHE in settings.CACHES:
        return OWN_CACHE
    for name, entry in settings.CACHES.items():
        if str(entry.get("BACKEND", "")).startswith("django_redis."):
            return name
    return None


def _named_url(backend: str) -> str:
    """The URL that the site names; "" if it names none. ImproperlyConfigured if it is no URL."""
    option = backend_settings(backend).options.redis_url
    url = option or os.environ.get("REDIS_URL", "")
    try:
        if url:
            parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        # What it says may be a part of the password.
        where = f"TASKS[{backend!r}]['OPTIONS']['redis_url']" if option else "REDIS_URL"
        raise ImproperlyConfigured(
            f"{where} is not an address of Redis, such as redis://:password@127.0.0.1:6379/0. "
            f"In a password, special characters are written as %2F and the like."
        ) from None
    return url


def uses_redis(backend: str) -> bool:
    """Whether the jobs of a backend go through Redis. To do without it is no failure: workers look
    into the database.

    So it is with OPTIONS["redis_url"] None, and with DEBUG where no Redis is named and none is at
    the default address.
    """
    if backend_settings(backend).options.redis_url is None:
        return False
    return needs_redis(backend) or _is_somebody_at(DEFAULT_URL)


@cache
def needs_redis(backend: str) -> bool:
    """Whether the settings alone say that a backend uses Redis."""
    if backend_settings(backend).options.redis_url is None:
        return False
    try:
        return not settings.DEBUG or redis_is_named(backend)
    except ImproperlyConfigured:
        # A check says so.
        return True


def _is_somebody_at(url: str) -> bool:
    found, until = _looks.get(url, (False, 0.0))
    if clock.monotonic() < until:
        return found
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), LOOK_SECONDS).close()
        found = True
    except OSError:
        found = False
    _looks[url] = found, clock.monotonic() + LOOK_EVERY
    return found


def redis_is_named(backend: str) -> bool:
    """Whether the site says where Redis is; ImproperlyConfigured if it says so wrongly."""
    name = cache_name(backend)
    if name is None:
        return bool(_named_url(backend))
    if not str(settings.CACHES[name].get("BACKEND", "")).startswith("django_redis."):
        raise _not_django_redis(name)
    return True


def has_password(backend: str) -> bool:
    """Whether the settings hold a password for Redis."""
    return bool(connection(backend).connection_pool.connection_kwargs.get("password"))


@cache
def connection(backend: str, reply_seconds: float = PUSH_SECONDS) -> Redis:
    """A Redis client of a backend: one a process, thread-safe, connected at its first command.

    reply_seconds: how long a reply may take at most; a worker that blocks needs more than a view.
    """
    return Redis(connection_pool=new_pool(backend, reply_seconds))


def new_pool(backend: str, reply_seconds: float = PUSH_SECONDS) -> ConnectionPool:
    """A pool of connections to the Redis of a backend. It connects when one is asked for.

    A command is tried once: redis-py's own retries would hold up a view for seconds.
    """
    if backend_settings(backend).options.redis_url is None:
        raise ImproperlyConfigured(f"TASKS[{backend!r}]['OPTIONS']['redis_url'] is None: no Redis.")
    name = cache_name(backend)
    url = _named_url(backend) or DEFAULT_URL
    pool = ConnectionPool.from_url(url) if name is None else _pool_of_cache(name)
    _limit(pool, pool.connection_kwargs, PUSH_SECONDS, reply_seconds)
    if isinstance(pool, SentinelConnectionPool):
        _limit_sentinels(pool.sentinel_manager)
    pool.connection_kwargs["decode_responses"] = False
    _pools.add(pool)
    return pool


def _limit(pool: ConnectionPool, site: Mapping[str, Any], connect: float, reply: float) -> None:
    """Try once, and wait at most so many seconds, or as long as the site's settings say."""
    _tell_version(pool.connection_kwargs)
    for setting, seconds in {"socket_connect_timeout": connect, "socket_timeout": reply}.items():
        pool.connection_kwargs[setting] = max(site.get(setting) or 0, seconds)
    pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)


def _tell_version(kwargs: dict[str, Any]) -> None:
    """Newer versions of redis-py look for their own among the installed packages, for each
    connection: 5 ms, and the memory for a package's description.
    """
    if {"driver_info", "lib_name", "lib_version"}.isdisjoint(kwargs):
        with suppress(ImportError):
            driver_info = import_module("redis.driver_info").DriverInfo
            kwargs["driver_info"] = driver_info(lib_version=__version__)


def _limit_sentinels(manager: Sentinel) -> None:
    """Sentinels are asked one after the other: all that hang may take as long as one Redis."""
    share = PUSH_SECONDS / len(manager.sentinels)
    for sentinel in manager.sentinels:
        _limit(sentinel.connection_pool, manager.sentinel_kwargs, share, share)


def _pool_of_cache(name: str) -> ConnectionPool:
    """A pool of our own with the settings of a django-redis cache, Sentinel and TLS included."""
    client = getattr(caches[name], "client", None)
    if client is None or getattr(client, "connection_factory", None) is None:
        raise _not_django_redis(name)
    # A factory of our own too: it holds the clients for the Sentinels, and the cache keeps its own.
    factory = type(client.connection_factory)(client.connection_factory.options)
    pool: ConnectionPool = factory.get_connection_pool(
        factory.make_connection_params(client._server[0])
    )
    return pool


def _not_django_redis(name: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"The cache {name!r} is not a django-redis cache: "
        f"set its BACKEND to 'django_redis.cache.RedisCache', or set OPTIONS['redis_url']."
    )


def describe(backend: str) -> str:
    """Redis's address without its password, for banners and messages."""
    kwargs = connection(backend).connection_pool.connection_kwargs
    if "path" in kwargs:
        return f"unix:{kwargs['path']}"
    if "host" not in kwargs:
        return f"the cache {cache_name(backend)!r}"
    return f"{kwargs['host']}:{kwargs.get('port', 6379)}/{kwargs.get('db', 0)}"


def reason(error: Exception) -> Reason:
    """Why Redis did not answer, in one line, with the cure where there is one."""
    own = getattr(error, "reason", None)
    if isinstance(own, Reason):
        return own
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, AuthenticationError) or "NOAUTH" in line or "WRONGPASS" in line:
        return Reason("redis_password", {"line": line})
    if isinstance(error, CLUSTER_ERRORS):
        return Reason("redis_cluster", {"line": line})
    if type(error) is NoPermissionError:
        return Reason("redis_permission", {"line": line})
    return Reason("other", {"words": line})


def drop_clients() -> None:
    """Drop the clients of this process, as after a fork."""
    connection.cache_clear()


def close_in_fork() -> None:
    """In a fork: close the sockets, which the parent goes on to use.

    Else Redis would not notice the parent's death, and give a message to nobody.
    """
    for pool in list(_pools):
        for attribute in ("_connections", "_in_use_connections", "_available_connections"):
            for member in list(getattr(pool, attribute, ())):
                member.disconnect()


CACHED += [connection, needs_redis]
