"""A Lua script: one command, sent by its digest, and whole where Redis does not know it yet.

A Redis may not run scripts for us: its ACL forbids them, or its operator has renamed the commands.
What a script does is then done by plain commands, in more trips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    NoScriptError,
    ResponseError,
)

from ..core import clock

T = TypeVar("T")
# What only a cluster answers.
CLUSTER_ERRORS = (ClusterCrossSlotError, ClusterDownError, AskError)
# Seconds until scripts are tried again: somebody may have allowed them.
TRY_SCRIPTS_EVERY = 60.0
_without_until: WeakKeyDictionary[Redis, float] = WeakKeyDictionary()


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


def run_script(scripted: Callable[[], T], plain: Callable[[], T], redis: Redis) -> T:
    """Do it by script; by plain commands where Redis does not run scripts. Raises RedisError."""
    if _without_until and clock.monotonic() < _without_until.get(redis, 0.0):
        return plain()
    try:
        return scripted()
    except CLUSTER_ERRORS:
        raise
    except ResponseError:
        found = plain()
        # Not before: what is wrong with a key is wrong for plain commands too.
        _without_until[redis] = clock.monotonic() + TRY_SCRIPTS_EVERY
        return found
