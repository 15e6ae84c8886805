"""What the Redis user may do: asked of Redis itself, with harmless commands on keys of our own."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import ExecAbortError, NoPermissionError, NoScriptError, ResponseError

from ..core.messages import Reason
from .connection import CLUSTER_ERRORS
from .messages import QUEUES_KEY, SUSPENDED_KEY, Namespace, message_key

SCRIPTS = ("+eval", "+evalsha")
# Without these `bgdoctor` tells less.
OPTIONAL = ("+get", "+info", "+zrange")
KEYS = {"bgtasks": "~bgtasks:*", "rq": "~rq:*"}
# Each with its arguments after the key; the key is deleted wherever it may have another type.
COMMANDS: tuple[tuple[Any, ...], ...] = (
    ("del",),
    ("hset", "f", 1), ("hget", "f"), ("hmget", "f"), ("hexists", "f"), ("hincrby", "f", 0),
    ("hdel", "f"), ("del",),
    ("sadd", "m"), ("sismember", "m"), ("smembers",), ("scard",), ("srem", "m"), ("del",),
    ("rpush", "m"), ("lpush", "m"), ("llen",), ("lrange", 0, 0), ("blpop", 0.01),
    ("ltrim", 1, 0), ("del",),
    ("zadd", 1, "m"), ("zrange", 0, 0), ("zremrangebyscore", 0, 0), ("del",),
    ("set", 1, "EX", 1), ("get",), ("expire", 1), ("pttl",), ("exists",), ("del",),
)  # fmt: skip
KEYLESS: tuple[tuple[Any, ...], ...] = (
    ("ping",), ("info", "memory"), ("eval", "return 1", 0), ("evalsha", "0" * 40, 0),
    ("multi",), ("exec",),
)  # fmt: skip


class NotAllowed(NoPermissionError):
    """The Redis user may not do what we cannot do without. The message has the cure."""

    def __init__(self, user: str, cure: str) -> None:
        self.reason = Reason("redis_not_allowed", {"user": user, "cure": cure})
        super().__init__(str(self.reason))


def missing(namespace: Namespace, redis: Redis) -> list[str]:
    """The ACL rules that the Redis user lacks, in the order of ACL SETUSER.

    Raises RedisError, that of a cluster too, in which keys of several slots never meet.
    """
    keys = {"bgtasks": namespace.key("probe"), "rq": message_key(f"{namespace.name}-probe")}
    probes = [(rule, (name, key, *rest)) for rule, key in keys.items() for name, *rest in COMMANDS]
    probes += [("keys", ("exists", QUEUES_KEY, SUSPENDED_KEY)), ("keys", ("exists", "rq:workers"))]
    probes += [("keys", ("exists", namespace.list_key("probe")))]
    probes += [("", command) for command in KEYLESS]
    with redis.pipeline(transaction=False) as pipeline:
        for _, command in probes:
            send: Any = pipeline.execute_command
            send(*command)
        answers = pipeline.execute(raise_on_error=False)
    denied: dict[str, set[str]] = {}
    for (kind, (name, *_)), answer in zip(probes, answers, strict=True):
        if isinstance(answer, CLUSTER_ERRORS):
            raise answer
        if _is_denied(name, answer):
            denied.setdefault(kind, set()).add(f"+{name}")
    return _rules(denied)


def essential(rules: list[str]) -> list[str]:
    """Those of the rules without which Redis is of no use."""
    return [rule for rule in rules if rule not in (*SCRIPTS, *OPTIONAL)]


def user_of(redis: Redis) -> str:
    """The name of the Redis user, as the settings have it."""
    return str(redis.connection_pool.connection_kwargs.get("username") or "default")


def cure(rules: list[str], redis: Redis) -> str:
    """The command that allows what is missing."""
    return f"ACL SETUSER {user_of(redis)} {' '.join(rules)}"


def require(namespace: Namespace, redis: Redis) -> None:
    """NotAllowed if the Redis user lacks what we cannot do without."""
    if rules := essential(missing(namespace, redis)):
        raise NotAllowed(user_of(redis), cure(rules, redis))


def _is_denied(name: str, answer: Any) -> bool:
    if name in ("eval", "evalsha"):
        # Some operators have taken the commands away instead.
        return isinstance(answer, ResponseError) and not isinstance(answer, NoScriptError)
    # A transaction that may not end is discarded.
    return isinstance(answer, NoPermissionError | ExecAbortError)


def _rules(denied: dict[str, set[str]]) -> list[str]:
    """A kind of key with which nothing at all is allowed is not allowed itself."""
    every = {f"+{name}" for name, *_ in COMMANDS}
    closed = [kind for kind in KEYS if denied.get(kind) == every]
    open_ = [denied.get(kind, set()) for kind in KEYS if kind not in closed]
    commands = set.union(set(), *open_) if open_ else every
    if "keys" in denied and "+exists" not in commands and "rq" not in closed:
        closed.append("rq")
    rules = sorted(commands | denied.get("", set()))
    return [*(KEYS[kind] for kind in sorted(closed)), *rules]
