"""Messages are sent without waiting for Redis: who enqueues a job, a view mostly, goes on at once.

The sender of a backend has one connection. It writes commands there, reads the answers to earlier
ones that have come by then, and goes on. Nothing depends on them: the row of the job stands, and
maintenance sends again a message that Redis does not hold.

The connection is made, and made again, in a thread that ends with that: with its handshake, TLS and
Sentinels it takes several trips, and a Redis that hangs answers none. Otherwise there is no thread;
under gevent it is a greenlet.

All that is kept is bounded: what waits for a connection by MOST; what is not answered by the time
after which Redis is taken for one that is away.
"""

from __future__ import annotations

import atexit
import logging
import os
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import hiredis
from redis import ConnectionPool, Redis, exceptions
from redis.connection import DefaultParser
from redis.exceptions import RedisError

from ..core import clock
from ..core.errors import Interruption
from ..core.faultpoints import fault_point
from ..core.options import CACHED
from ..ledger import identity
from ..ledger.statements import meanwhile
from .connection import describe, new_pool, reason
from .messages import AT_ONCE, Message, Namespace, push_commands, runs_scripts

logger = logging.getLogger("django_bgtasks.dispatch")

# The first message waits so long for its connection: most are there by then, also where the server
# runs threads only while it has a request. None waits after one that did not come.
CONNECT_SECONDS = 0.05
# Thousands of messages are more than the network takes at once: it has to take some within this.
WRITE_SECONDS = 0.1
# At its end a process waits so long for what it has sent.
EXIT_SECONDS = 0.5
# After a failure the next messages are left to maintenance for so long.
PAUSE_SECONDS = 2.0
# So many messages wait for a connection; the others are left to maintenance.
MOST = 10_000
READ_SIZE = 65536
# What has come since it was read last is left to the next time if that was so short ago.
READ_EVERY = 0.01
# So a Redis may say that it does not run a script. An answer without a type is of this very class.
NOT_SCRIPTED = (exceptions.ResponseError, exceptions.NoPermissionError)
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
T = TypeVar("T")


@dataclass(slots=True)
class Outgoing:
    """Commands that are sent together.

    commands: what they are, by script or, where Redis runs none, without. size: of how many
    messages. using: the database of the ledger whose workers the last answer tells of.
    sent_at: when, 0 if they are not; unanswered: how many have no answer yet. is_refused: Redis
    does not run scripts. packed: what is to be written, empty if it is not made ready.
    """

    commands: Callable[[bool], Iterable[tuple[Any, ...]]] | None
    size: int = 1
    using: str | None = None
    by_script: bool = True
    sent_at: float = 0.0
    unanswered: int = 0
    is_refused: bool = False
    packed: bytes = b""


class Unanswered(exceptions.ConnectionError):
    """Redis has not answered for too long. Or its network has lost the connection."""


class Link:
    """A connection whose answers are read later. What raises RedisError has ended it.

    It is for one thread at a time.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        """Connect, and wait for that."""
        self._patience: float = pool.connection_kwargs["socket_timeout"]
        self._redis = Redis(connection_pool=pool, single_connection_client=True)
        self._connection = cast(Any, self._redis.connection)
        try:
            self._by_script = runs_scripts(self._redis)
        except RedisError:
            self.close()
            raise
        self._socket = self._connection._sock
        self._socket.settimeout(0)
        parser: Any = DefaultParser(socket_read_size=0)
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse, replyError=parser.parse_error
        )
        self._unanswered: deque[Outgoing] = deque()
        self._read_at = 0.0

    def pack(self, outgoing: Outgoing) -> None:
        """Make ready what send() writes."""
        if outgoing.commands is not None:
            commands = list(outgoing.commands(self._by_script))
            outgoing.packed = b"".join(map(hiredis.pack_command, commands))
            outgoing.by_script, outgoing.unanswered = self._by_script, len(commands)

    def send(self, outgoing: Outgoing) -> None:
        """Write these commands."""
        if outgoing.commands is None:
            return
        if not outgoing.packed or outgoing.by_script != self._by_script:
            self.pack(outgoing)
        data, outgoing.packed = outgoing.packed, b""
        start = clock.monotonic()
        self._write(data)
        outgoing.is_refused, outgoing.sent_at = False, start
        if outgoing.size > AT_ONCE:
            # Too many to be kept for another try.
            outgoing.commands = None
        self._unanswered.append(outgoing)

    @property
    def was_read(self) -> bool:
        """Whether read() was called just now."""
        return clock.monotonic() - self._read_at < READ_EVERY

    def read(self) -> bool:
        """Read the answers that have come; whether something was done. Raises the first error."""
        is_done, self._read_at = False, clock.monotonic()
        while data := self._received():
            is_done = self._understand(data) or is_done
            if len(data) < READ_SIZE:
                # That was all: to ask again costs as much as the answer.
                break
        if self._unanswered and clock.monotonic() - self._unanswered[0].sent_at > self._patience:
            raise Unanswered("No answer from Redis.")
        return is_done

    def drain(self, seconds: float) -> None:
        """Wait for the answers to all that was sent.

        A connection that is closed with an answer unread is reset: what is under way may be lost.
        """
        end = clock.monotonic() + seconds
        while self._unanswered and (left := end - clock.monotonic()) > 0:
            self._socket.settimeout(left)
            self._understand(self._received())
        self._socket.settimeout(0)

    def unanswered(self) -> list[Outgoing]:
        """What was sent and may not have arrived. What arrives twice does no harm."""
        return [one for one in self._unanswered if one.commands is not None]

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()
        self._redis.close()

    def _write(self, data: bytes) -> None:
        sent = 0
        try:
            with suppress(*NOT_NOW):
                sent = self._socket.send(data)
            if sent < len(data):
                self._socket.settimeout(WRITE_SECONDS)
                rest = memoryview(data)[sent:]
                while rest:
                    rest = rest[self._socket.send(rest) :]
                self._socket.settimeout(0)
        except TimeoutError:
            raise exceptions.TimeoutError("Timeout writing to socket") from None
        except OSError as error:
            raise exceptions.ConnectionError(f"Error while writing to socket: {error}") from error

    def _received(self) -> bytes:
        """What has come; empty if nothing has."""
        try:
            data: bytes = self._socket.recv(READ_SIZE)
        except (*NOT_NOW, TimeoutError):
            return b""
        except OSError as error:
            raise exceptions.ConnectionError(f"Error while reading from socket: {error}") from error
        if not data:
            raise exceptions.ConnectionError("Connection closed by server.")
        return data

    def _understand(self, data: bytes) -> bool:
        is_done = False
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            if self._unanswered and not isinstance(answer, list):
                is_done = self._note(answer, self._unanswered[0]) or is_done
            elif isinstance(answer, Exception):
                raise answer
            # Else it is what Redis tells without being asked, under RESP3.
        return is_done

    def _note(self, answer: Any, outgoing: Outgoing) -> bool:
        """Note an answer to a command of it; whether it was the last and all is done."""
        outgoing.unanswered -= 1
        if isinstance(answer, Exception):
            if not outgoing.by_script or type(answer) not in NOT_SCRIPTED:
                raise answer
            outgoing.is_refused = True
        if outgoing.unanswered:
            return False
        self._unanswered.popleft()
        if outgoing.is_refused:
            # What is wrong with a key is wrong for plain commands too, and is told then.
            self._by_script = False
            self.send(outgoing)
            return False
        if outgoing.using is not None and not answer:
            identity.doubt(outgoing.using)
        return True


class Sender:
    """Sends the messages of a backend, from any thread of the process that has made it."""

    def __init__(self, backend: str) -> None:
        self.backend, self._pool = backend, new_pool(backend)
        # Reentrant: a signal may interrupt its holder by what enqueues too, and finds no link.
        self._lock = threading.RLock()
        self._link: Link | None = None
        # While a thread connects; and what it sends then.
        self._connecting: threading.Event | None = None
        self._waiting: list[Outgoing] = []
        self._room, self._away_until = MOST, 0.0
        # Whether all is well, as far as is known; and the error that was logged if not.
        self._is_well, self._logged = True, ""

    def send(self, messages: Sequence[Message], namespace: Namespace, using: str) -> bool:
        """Send these messages. False if Redis is away: maintenance dispatches them then."""
        return self.push(_push_of(messages, namespace, using))

    def prepare(self, messages: Sequence[Message], namespace: Namespace, using: str) -> Outgoing:
        """Do all that send() does of these messages but to write them, which is for push().

        Their job may still come to nothing. Redis being away is none of it: push() meets that.
        """
        outgoing = _push_of(messages, namespace, using)

        def make_ready(link: Link | None) -> bool:
            if link is not None:
                self._read(link)
                link.pack(outgoing)
            return True

        try:
            self._try(partial(self._with_link, make_ready))
        except RedisError as error:
            self._fail(error)
        return outgoing

    @fault_point("push")
    def push(self, outgoing: Outgoing) -> bool:
        """Send what prepare() has made of messages. False if Redis is away."""
        return self.tell(outgoing)

    @fault_point("push early")
    def push_early(self, outgoing: Outgoing) -> bool:
        """Send what prepare() has made of messages, if there is a link that takes it at once. False
        if not: push() sends it then.
        """

        def send(link: Link | None) -> bool:
            if link is None:
                return False
            link.send(outgoing)
            # It may have been closed while the statement waited for a lock.
            if not link.was_read:
                self._read(link)
            return True

        try:
            return self._try(partial(self._with_link, send))
        except RedisError as error:
            self._fail(error)
            return False

    def tell(self, outgoing: Outgoing) -> bool:
        """Send these commands, whatever becomes of them. False if Redis is away."""
        try:
            if self._try(partial(self._send, outgoing)):
                return True
            self._connect()
            return self._send(outgoing, can_wait=True)
        except RedisError as error:
            self._fail(error)
            return False

    def flush(self, seconds: float) -> None:
        """Wait until all has been sent and answered, at most so many seconds."""
        end = clock.monotonic() + seconds
        if (connecting := self._connecting) is not None:
            connecting.wait(seconds)

        def drain(link: Link | None) -> None:
            if link is not None:
                link.drain(end - clock.monotonic())

        try:
            self._with_link(drain)
        except RedisError as error:
            self._fail(error)

    def _send(self, outgoing: Outgoing, can_wait: bool = False) -> bool:
        """Send it if there is a link. can_wait: or when there will be one."""

        def send(link: Link | None) -> bool:
            if outgoing.sent_at:
                # Over a link that was lost; who connects sends it again with what else was.
                return link is not None or self._connecting is not None
            if link is not None:
                if outgoing.size > AT_ONCE:
                    # They are not kept for another try: this one has to be at a link that holds.
                    self._read(link)
                link.send(outgoing)
                # Last: a worker may have the message by now.
                if not link.was_read:
                    self._read(link)
                return True
            if not can_wait or self._connecting is None or outgoing.size > self._room:
                return False
            self._waiting.append(outgoing)
            self._room -= outgoing.size
            return True

        return self._with_link(send)

    def _read(self, link: Link) -> None:
        if link.read():
            self._is_well, self._logged = True, ""

    def _try(self, work: Callable[[], bool]) -> bool:
        """Do what needs the link. False also if that is lost: another one has to be made."""
        try:
            return work()
        except Unanswered:
            self._is_well = False
        except exceptions.ConnectionError as error:
            _tell(logging.DEBUG, "The connection to Redis is made again: %s", reason(error))
        return False

    def _with_link(self, act: Callable[[Link | None], T]) -> T:
        """Act with the link, for one thread at a time. What is raised meanwhile has ended it."""
        with self._lock:
            link, self._link = self._link, None
            try:
                return act(link)
            except BaseException as error:
                if link is not None:
                    link.close()
                    if isinstance(error, exceptions.ConnectionError):
                        self._waiting = link.unanswered()
                link = None
                raise
            finally:
                self._link = link

    def _connect(self) -> None:
        """Have a thread connect if none does, and wait a moment for it."""
        with self._lock:
            is_away = clock.monotonic() < self._away_until
            if self._link is not None or self._connecting is not None or is_away:
                return
            self._connecting = connecting = threading.Event()
        try:
            threading.Thread(target=self._connect_and_send, daemon=True).start()
        except RuntimeError:
            # There are too many, or the interpreter ends.
            self._connect_and_send()
        except BaseException:
            # It was interrupted, and nobody may connect.
            self._connecting = None
            raise
        if self._is_well:
            connecting.wait(CONNECT_SECONDS)

    def _connect_and_send(self) -> None:
        link: Link | None = None
        failure: Exception | None = None
        try:
            link = Link(self._pool)
        except Exception as error:
            # A password may come from code of the site, which may raise anything.
            failure = error
        with self._lock:
            waiting, self._waiting, self._room = self._waiting, [], MOST
            connecting, self._connecting = self._connecting, None
            try:
                for outgoing in waiting:
                    if link is not None:
                        link.send(outgoing)
                self._link = link
            except RedisError as error:
                failure = error
        if failure is not None:
            self._fail(failure)
        if connecting is not None:
            connecting.set()

    def _fail(self, error: Exception) -> None:
        """Leave Redis alone for a while. Say why, once until all is well or it is another error."""
        kind = type(error).__name__
        with self._lock:
            self._away_until = clock.monotonic() + PAUSE_SECONDS
            self._is_well, was, self._logged = False, self._logged, kind
        if was != kind:
            text = "Redis at %s is away (%s). The job is stored; workers find it in the database."
            _tell(logging.WARNING, text, describe(self.backend), reason(error))


def _tell(level: int, text: str, *args: object) -> None:
    """Log it when no statement has the session, for a handler may write to the database. What the
    handler raises is no failure of the statement.
    """

    def log() -> None:
        try:
            logger.log(level, text, *args)
        except Exception as error:
            if isinstance(error, Interruption):
                raise

    meanwhile.later(log)


def _push_of(messages: Sequence[Message], namespace: Namespace, using: str) -> Outgoing:
    return Outgoing(partial(push_commands, messages, namespace), len(messages), using)


class Senders:
    """The senders of a process. A fork has none of its parent's."""

    def __init__(self) -> None:
        self._senders: dict[tuple[str, int], Sender] = {}

    def of(self, backend: str) -> Sender:
        """The sender of this backend."""
        # A server that forks without Python's knowledge, as uWSGI does, is known by its pid.
        key = backend, os.getpid()
        found = self._senders.get(key)
        if found is None:
            for other in [other for other in self._senders if other[1] != key[1]]:
                self._senders.pop(other, None)
            found = self._senders.setdefault(key, Sender(backend))
        return found

    def flush(self, seconds: float = EXIT_SECONDS) -> None:
        """Wait until this process has sent all its messages, at most so many seconds each."""
        for (_, pid), sender in list(self._senders.items()):
            if pid == os.getpid():
                sender.flush(seconds)

    def cache_clear(self) -> None:
        """Make them anew: the settings have changed."""
        self.flush()
        self.forget()

    def forget(self) -> None:
        """Forget them all, as in a fork: its parent goes on to use them."""
        self._senders.clear()


senders = Senders()
CACHED.append(senders)
atexit.register(senders.flush)
os.register_at_fork(after_in_child=senders.forget)
