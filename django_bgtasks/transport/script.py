"""A Lua script: one command, sent by its digest, and whole where Redis does not know it yet."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError


class Script:
    """What redis-py's own Script does, without what that does anew for each call."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[Any], redis: Redis) -> Any:
        """Run it. Raises RedisError."""
        execute: Any = redis.execute_command
        try:
            return execute("EVALSHA", self._digest, len(keys), *keys, *args)
        except NoScriptError:
            return execute("EVAL", self._text, len(keys), *keys, *args)

    def queue(self, keys: Sequence[str], args: Sequence[Any], pipeline: Pipeline) -> None:
        """Put it into a pipeline, where an answer would come too late to send it again.

        The first of a pipeline is sent whole: from then on Redis knows it.
        """
        name, body = ("EVALSHA", self._digest) if len(pipeline) else ("EVAL", self._text)
        execute: Any = pipeline.execute_command
        execute(name, body, len(keys), *keys, *args)
