"""Maintenance task: send again the messages of queued jobs that Redis does not hold."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice, starmap
from uuid import UUID

from ...core import clock
from ...ledger.identity import database_name
from ...ledger.queues import queued_jobs, with_queued_jobs
from ...transport.connection import Redis, RedisError, connection, uses_redis
from ...transport.messages import Message, Namespace, namespace_of, push
from ...transport.queues import MARK_SECONDS, in_use, is_marked, mark, waiting_ids
from .rest import rest_after

logger = logging.getLogger("django_bgtasks.worker")

SWEEP_EVERY = 10.0
# With the wait for a run_once, twice, a message that died with a job process is back within 3 s.
CONFIRM_AFTER = 1.5
# Where messages are lost again and again, as of a host that does not reach Redis: so often, while
# it may take more of a core, and so long after the last one.
OFTEN_EVERY, OFTEN_SHARE, OFTEN_FOR = 0.4, 0.05, 300.0
SAY_EVERY = 600.0
LOST = (
    "%d queued jobs were missing in Redis and were sent again. Unless a process died, a host that "
    "enqueues jobs does not reach this Redis."
)
CHUNK = 1000
LOCK_SECONDS = 30
MARK_EVERY = MARK_SECONDS / 5


class Redispatch:
    """One backend's sweep. It raises RedisError when Redis is away: nothing can be sent then."""

    def __init__(self, backend: str, using: str) -> None:
        self.backend, self.using = backend, using
        self._suspects: set[UUID] = set()
        self._sweep_at = self._often_at = self._confirm_at = self._mark_at = 0.0
        self._often_until = self._say_at = 0.0
        self._unsaid = 0
        self._was_away = self._is_sure = False

    def run_once(self) -> int:
        """Send again what is missing. Returns how many messages were sent.

        A wiped Redis (its mark is gone) and one that comes back are looked through at once;
        otherwise a missing message is sent when it is missing in two looks, for it may be on its
        way just now.
        """
        if not uses_redis(self.backend):
            self._was_away = True
            return 0
        self._say()
        redis, namespace = connection(self.backend), self._namespace
        try:
            if self._was_away or not is_marked(namespace, redis):
                return self._restore(redis)
            if clock.monotonic() >= self._mark_at:
                self._mark(redis)
            if clock.monotonic() >= self._next_sweep():
                return self._sweep(redis)
            due = self._suspects and clock.monotonic() >= self._confirm_at
            return self._confirm(redis) if due else 0
        except RedisError:
            self._was_away = True
            raise

    def soon(self) -> None:
        """Sweep at the next run_once: a job process died, and its message may have died with it."""
        self._sweep_at = 0.0

    def at_once(self) -> None:
        """Sweep at the next run_once, and send what is missing without a second look.

        A worker was found dead, after many seconds: its messages must not wait any longer. One that
        is on its way just now comes twice, which does no harm.
        """
        self._sweep_at, self._is_sure = 0.0, True

    def _next_sweep(self) -> float:
        is_often = clock.monotonic() < self._often_until
        return min(self._sweep_at, self._often_at) if is_often else self._sweep_at

    def _note_lost(self, sent: int) -> int:
        if sent:
            self._often_until = clock.monotonic() + OFTEN_FOR
            self._unsaid += sent
            self._say()
        return sent

    def _say(self) -> None:
        """Not at each sweep: a host that does not reach Redis loses all of its messages."""
        if self._unsaid and clock.monotonic() >= self._say_at:
            logger.warning(LOST, self._unsaid)
            self._unsaid, self._say_at = 0, clock.monotonic() + SAY_EVERY

    def _restore(self, redis: Redis) -> int:
        if not redis.set(self._namespace.key("redispatch"), 1, nx=True, ex=LOCK_SECONDS):
            return 0
        # The mark comes last: a crash in between makes the next one look again.
        sent = self._send(redis, self._missing(redis))
        self._mark(redis)
        redis.delete(self._namespace.key("redispatch"))
        self._was_away = False
        # A site that found Redis away spares it for a while yet, and sends nothing.
        self._sweep_at = clock.monotonic() + CONFIRM_AFTER
        if sent:
            logger.warning("Redis had lost its messages: %d queued jobs were sent again.", sent)
        return sent

    def _sweep(self, redis: Redis) -> int:
        start = clock.monotonic()
        missing = {message.job_id: message for message in self._missing(redis)}
        known = set(missing) if self._is_sure else self._suspects
        lost = [message for job_id, message in missing.items() if job_id in known]
        sent, self._is_sure = self._send(redis, iter(lost)), False
        self._suspects = set(missing) - known
        # A sweep reads all that is queued, in the ledger and in Redis.
        self._note_lost(sent)
        self._often_at = clock.monotonic() + rest_after(start, OFTEN_EVERY, share=OFTEN_SHARE)
        self._sweep_at = clock.monotonic() + rest_after(start, SWEEP_EVERY)
        self._confirm_at = clock.monotonic() + CONFIRM_AFTER
        return sent

    def _confirm(self, redis: Redis) -> int:
        """The second look: at the suspects alone, of which most have begun meanwhile."""
        suspects, self._suspects = self._suspects, set()
        only = suspects if len(suspects) <= CHUNK else None
        missing = self._missing(redis, only)
        lost = (message for message in missing if message.job_id in suspects)
        return self._note_lost(self._send(redis, lost))

    def _missing(self, redis: Redis, only: set[UUID] | None = None) -> Iterator[Message]:
        # Redis is read first: what is popped and claimed in between is not taken for missing.
        namespace, names = self._namespace, []
        if only is None:
            if not (queues := with_queued_jobs(self.backend, self.using)):
                return
            names = in_use(queues, namespace, redis)
        waiting = {name: waiting_ids(name, namespace, redis) for name in names}
        for message in starmap(Message, queued_jobs(self.backend, self.using, only)):
            name = message.rq_queue
            if name not in waiting:
                waiting[name] = waiting_ids(name, namespace, redis)
            if str(message.job_id) not in waiting[name]:
                yield message

    def _send(self, redis: Redis, messages: Iterator[Message]) -> int:
        sent = 0
        while chunk := list(islice(messages, CHUNK)):
            push(chunk, self._namespace, redis)
            sent += len(chunk)
        return sent

    def _mark(self, redis: Redis) -> None:
        mark(self._namespace, database_name(self.using), redis)
        self._mark_at = clock.monotonic() + MARK_EVERY

    @property
    def _namespace(self) -> Namespace:
        return namespace_of(self.backend, self.using)
