"""Step 3, the message: push a committed job's id to Redis through RQ.

Next: worker/child.py (4 the pop).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

from django.db import transaction

from ..core import clock
from ..core.options import backend_settings
from ..core.states import State
from ..models import Job
from ..transport.connection import Redis, RedisError, connection, describe, reason
from ..transport.messages import Message, push

logger = logging.getLogger("django_bgtasks.dispatch")

# After a push that failed, the next ones are left to upkeep for so long: a view must not wait for
# the same dead Redis again and again.
PAUSE_SECONDS = 2.0
_held: ContextVar[bool] = ContextVar("bgtasks_dispatch_held", default=False)
_away_until: WeakKeyDictionary[Redis, float] = WeakKeyDictionary()


def dispatch_on_commit(jobs: list[Job], alias: str) -> None:
    """Push the queued jobs after the commit of the current transaction."""
    messages = [message_of(job) for job in jobs if job.state == State.QUEUED]
    if not messages or _held.get():
        return
    backend = jobs[0].backend
    if not backend_settings(backend).options.dispatch:
        return
    # Push after the commit: a crash here delays a job, never loses one, for upkeep finds its row.
    transaction.on_commit(lambda: dispatch(messages, backend), using=alias, robust=True)


def dispatch(messages: Iterable[Message], backend: str) -> bool:
    """Push messages now. False if Redis is away: the rows stand, and upkeep dispatches them."""
    redis = connection(backend)
    if clock.monotonic() < _away_until.get(redis, 0.0):
        return False
    try:
        push(messages, redis)
    except RedisError as error:
        _away_until[redis] = clock.monotonic() + PAUSE_SECONDS
        logger.warning(
            "Redis at %s is away (%s). The job is stored; workers find it in the database.",
            describe(backend),
            reason(error),
        )
        return False
    return True


def message_of(job: Job) -> Message:
    """The message of a job's row."""
    return Message(job.pk, job.queue, job.priority, job.task)


@contextmanager
def held() -> Iterator[None]:
    """Within it nothing is pushed: for tests, which run jobs from the database."""
    token = _held.set(True)
    try:
        yield
    finally:
        _held.reset(token)
