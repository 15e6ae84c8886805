"""A primary, a replica and the three Sentinels that watch them, all real."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import redis

from testproject.servers import RedisServer
from testproject.servers.processes import free_port
from testproject.servers.redis import redis_binary
from tests.waiting import wait_until

from .proxy import Proxy

HOST, NAME = "127.0.0.1", "jobs"
CONFIG = f"""
bind {HOST}
port %d
sentinel monitor {NAME} {HOST} %d 2
sentinel down-after-milliseconds {NAME} 1000
sentinel failover-timeout {NAME} 5000
"""


class SentinelServer(RedisServer):
    """One Sentinel: the binary of Redis in another mode."""

    title = "Sentinel"

    def __init__(self, primary: int) -> None:
        super().__init__(private=True)
        self.primary = primary

    def _command(self) -> list[str]:
        self.port = self.port or free_port()
        path = self.home / "sentinel.conf"
        path.write_text(CONFIG % (self.port, self.primary))
        return [redis_binary(), str(path), "--sentinel"]


class Watched:
    """A Redis with a replica, watched by Sentinels, each of them behind a proxy."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self.first = enter(RedisServer(config={"repl-diskless-sync-delay": "0"}))
        self.second = enter(RedisServer(private=True))
        with self.second.client() as client:
            client.execute_command("REPLICAOF", HOST, self.first.port)
        self.sentinels = [enter(SentinelServer(self.first.port)) for _ in range(3)]
        self.links = [enter(Proxy((HOST, sentinel.port))) for sentinel in self.sentinels]
        wait_until(lambda: all(map(_knows_all, self.sentinels)), 20, "the Sentinels know all")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def options(self) -> dict[str, Any]:
        """The OPTIONS of a django-redis cache that finds the primary by these Sentinels."""
        return {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [[link.host, link.port] for link in self.links],
        }

    @property
    def env(self) -> dict[str, str]:
        """What makes a worker use such a cache."""
        return {"BGTASKS_TEST_CACHE_OPTIONS": json.dumps(self.options)}

    def fail_over(self) -> None:
        """Swap the two as an administrator would: the first becomes a replica of the second."""
        with self.sentinels[0].client() as client:
            client.execute_command("SENTINEL", "FAILOVER", NAME)

    def wait_for_second(self) -> None:
        """Wait until the former replica is the primary."""
        wait_until(lambda: _role(self.second) == "master", 30)

    def wait_for_first(self) -> None:
        """Wait until the former primary is a replica."""
        wait_until(lambda: _role(self.first) == "slave", 30)


def _role(server: RedisServer) -> str:
    # A Sentinel that changes a role closes the connections of all clients.
    with server.client() as client, suppress(redis.ConnectionError):
        return str(client.info("replication")["role"])
    return ""


def _knows_all(sentinel: SentinelServer) -> bool:
    with sentinel.client() as client:
        state = client.sentinel_masters()[NAME]
        replicas = client.sentinel_slaves(NAME)
    linked = [replica["master-link-status"] == "ok" for replica in replicas]
    return linked == [True] and state["num-other-sentinels"] == 2
