"""Step 3, the message: push a committed job's id to Redis through RQ.

Next: worker/job_process.py (4 the pop).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, InterfaceError, connections, transaction

from ..core import clock
from ..core.options import backend_of, backend_settings
from ..core.states import State
from ..ledger import identity
from ..ledger.identity import ledger_database
from ..models import Job
from ..transport.connection import Redis, RedisError, connection, describe, reason
from ..transport.messages import Message, push
from ..transport.names import namespace_of

logger = logging.getLogger("django_bgtasks.dispatch")

# After a push that failed, the next ones are left to maintenance for so long: a view must not wait
# for
# the same dead Redis again and again.
PAUSE_SECONDS = 2.0
_held: ContextVar[bool] = ContextVar("bgtasks_dispatch_held", default=False)
_away_until: WeakKeyDictionary[Redis, float] = WeakKeyDictionary()
_said: WeakKeyDictionary[Redis, type[RedisError]] = WeakKeyDictionary()


def dispatch_on_commit(jobs: list[Job], using: str) -> None:
    """Push the queued jobs after the commit of the current transaction."""
    messages = [message_of(job) for job in jobs if job.state == State.QUEUED]
    if messages:
        push_on_commit(messages, jobs[0].backend, using)


def push_on_commit(messages: list[Message], backend: str, using: str) -> None:
    """Push messages after the commit of the current transaction, many in one go.

    backend: as the rows have it. One that TASKS does not have is for others to send to.
    """
    home = backend_of(backend)
    if _held.get() or home is None or not backend_settings(home).options.dispatch:
        return
    last = _last_push(using)
    if last is not None and last.backend == home:
        last.messages += messages
        return
    # Push after the commit: a crash here delays a job, never loses one, for maintenance finds its
    # row.
    transaction.on_commit(_Push(messages, home, using), using=using, robust=True)


def _last_push(using: str) -> _Push | None:
    """The hook that was registered last, if it is a push that shares the fate of one made now."""
    connection: Any = connections[using]
    if not connection.run_on_commit:
        return None
    savepoints, hook = connection.run_on_commit[-1][:2]
    same_fate = savepoints == set(connection.savepoint_ids)
    return hook if isinstance(hook, _Push) and same_fate else None


@dataclass(slots=True)
class _Push:
    """What a transaction pushes when it has committed."""

    messages: list[Message]
    backend: str
    using: str

    def __call__(self) -> None:
        dispatch(self.messages, self.backend, self.using)


def dispatch(messages: Iterable[Message], backend: str, using: str | None = None) -> bool:
    """Push messages now. False if Redis is away: maintenance dispatches them then."""
    redis, using = connection(backend), using or ledger_database()
    if clock.monotonic() < _away_until.get(redis, 0.0):
        return False
    try:
        if not push(messages, namespace_of(backend, using), redis):
            identity.doubt(using)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("The database is away (%s). The job is stored.", reason(error))
        return False
    except RedisError as error:
        _away_until[redis] = clock.monotonic() + PAUSE_SECONDS
        _say(error, redis, backend)
        return False
    if _said:
        _said.pop(redis, None)
    return True


def _say(error: RedisError, redis: Redis, backend: str) -> None:
    """Say once why nothing can be pushed, until it can or until it is for another reason."""
    if _said.get(redis) is not type(error):
        _said[redis] = type(error)
        text = "Redis at %s is away (%s). The job is stored; workers find it in the database."
        logger.warning(text, describe(backend), reason(error))


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
