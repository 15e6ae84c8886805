"""Dramatiq on Redis, with its results and the callbacks of groups."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as Limits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as ResultBackend

from . import body

url = os.environ[body.REDIS]
broker = RedisBroker(url=url)
# The middleware that was added last comes first after a message: the result, and then the callback.
broker.add_middleware(GroupCallbacks(Limits(url=url)))
broker.add_middleware(Results(backend=ResultBackend(url=url)))
dramatiq.set_broker(broker)


def _join(key: str, ids: list[str], actor: str) -> None:
    """A callback is told no results: it reads them by the ids of the messages."""
    of_id = {"queue_name": "default", "actor_name": actor, "args": (), "kwargs": {}, "options": {}}
    members = dramatiq.group(dramatiq.Message(**of_id, message_id=each) for each in ids)
    body.join(key, list(members.get_results()))


noop = dramatiq.actor(body.noop, actor_name="noop", store_results=True)
nap = dramatiq.actor(body.nap, actor_name="nap", store_results=True)
join = dramatiq.actor(_join, actor_name="join")
last = dramatiq.actor(body.last, actor_name="last")


def command() -> list[str]:
    """The worker: two processes with one thread each, so two jobs at once as in the others."""
    worker = [sys.executable, "-m", "dramatiq", __name__]
    return [*worker, "--processes", "2", "--threads", "1"]


def start_chord(key: str, size: int, seconds: float = 0.0) -> None:
    """Enqueue a group, and a step that gets its results."""
    actor, more = (nap, (seconds,)) if seconds else (noop, ())
    members = dramatiq.group(actor.message(n, *more) for n in range(size))
    ids = [member.message_id for member in members.children]
    members.add_completion_callback(join.message(key, ids, actor.actor_name))
    members.run()


def start_chain(key: str, size: int) -> None:
    """Enqueue so many steps, one after another."""
    steps = [noop.message(n) for n in range(size - 1)]
    dramatiq.pipeline([*steps, last.message(key)]).run()
