"""The message, an RQ job that carries a job's id and nothing else: how it is named, sent and taken.

All names in Redis carry the ledger that they belong to, so that two sites, staging and production,
or plain RQ may use one Redis database and never meet.

RQ's own tools can show a message; nothing in it is ever believed. The function is the same constant
for every message, the only argument is the id, and a worker reads neither from Redis. They stand in
RQ's default format, a pickle, for its tools read no other unless they are told to. It is only ever
written here: two constant texts around the id.

What a job costs goes in one trip each way, as a Lua script. A Redis may not run scripts for us: its
ACL forbids them, or its operator has renamed the commands. Then plain commands do the same, in more
trips.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import sha1
from itertools import groupby
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote
from uuid import UUID
from weakref import WeakKeyDictionary

from redis import Redis
from redis.exceptions import NoScriptError, ResponseError

from ..core import clock
from ..core.faultpoints import fault_point
from ..core.options import CACHED, default_backend
from ..ledger import identity
from .connection import CLUSTER_ERRORS

QUEUES_KEY = "rq:queues"
QUEUE_PREFIX = "rq:queue:"
SUSPENDED_KEY = "rq:suspended"
# The ledgers that have used this Redis database, by the time at which they were last heard of.
LEDGERS_KEY = "bgtasks:ledgers"
_PRIORITY = re.compile(r"(?P<queue>.+)-(?P<sign>[pm])(?P<size>\d{1,3})", re.DOTALL)
T = TypeVar("T")
FUNCTION = "django_bgtasks.transport.run_by_bgworker"
# A message nobody takes must not stay for ever; the ledger has the job.
MESSAGE_SECONDS = 7 * 24 * 3600
# So long a message may be ahead of the row of its job, which is about to be committed then.
AHEAD_SECONDS = 0.25
# While a script runs Redis serves nobody else, and its client does not wait for ever.
AT_ONCE = 1000
# Seconds until scripts are tried again: somebody may have allowed them.
TRY_SCRIPTS_EVERY = 60.0
_without_until: WeakKeyDictionary[Redis, float] = WeakKeyDictionary()


@lru_cache(maxsize=1024)
def rq_queue_name(queue: str, priority: int) -> str:
    """Each priority in use is an RQ queue of its own: `emails`, `emails-p50`, `emails-m10`.

    A queue whose own name looks so gets its priority behind it in any case: `emails-p50-p0`.
    """
    if not priority and not _PRIORITY.fullmatch(queue):
        return queue
    return f"{queue}-{'m' if priority < 0 else 'p'}{abs(priority)}"


def place_of(rq_queue: str) -> tuple[str, int]:
    """The (queue, priority) of a name that rq_queue_name() has made."""
    match = _PRIORITY.fullmatch(rq_queue)
    if match is None:
        return rq_queue, 0
    size = int(match["size"])
    return match["queue"], -size if match["sign"] == "m" else size


@dataclass(frozen=True, slots=True)
class Namespace:
    """The names in Redis of one backend of one ledger.

    ledger: its short name, `1a2b3c4d`. name: the same, or `1a2b3c4d.archive` for another backend
    than the default one. Everywhere else an RQ queue is called by what follows it: `emails-p50`.
    """

    ledger: str
    name: str

    def rq_queue(self, rq_queue: str) -> str:
        """The name that RQ knows: `1a2b3c4d:emails-p50`."""
        return f"{self.name}:{rq_queue}"

    def list_key(self, rq_queue: str) -> str:
        """The Redis list of an RQ queue."""
        return f"{QUEUE_PREFIX}{self.name}:{rq_queue}"

    def own(self, name: str) -> str | None:
        """What follows our name in a name that RQ knows; None if it is somebody else's."""
        start = f"{self.name}:"
        return name.removeprefix(start) if name.startswith(start) else None

    def is_of_ledger(self, name: str) -> bool:
        """Whether a name belongs to this ledger, whatever the backend."""
        return name == self.ledger or name.startswith((f"{self.ledger}:", f"{self.ledger}."))

    def worker(self, process: str) -> str:
        """The name of an RQ worker."""
        return f"{self.name}:{process}"

    def key(self, what: str) -> str:
        """A key that RQ does not know."""
        return f"bgtasks:{self.name}:{what}"

    @property
    def marker_key(self) -> str:
        """A wiped Redis has lost this key; workers then send all queued jobs again."""
        return self.key("alive")


def namespace_of(backend: str, using: str) -> Namespace:
    """The names of this backend. using: the database of its ledger. Raises DatabaseError."""
    return known_namespace(backend, using) or _namespace_of(identity.ledger_id(using), backend)


def known_namespace(backend: str, using: str) -> Namespace | None:
    """namespace_of(), without a statement: None if this process has to ask the database."""
    known = identity.known_ids.get(using)
    return None if known is None else _namespace_of(known[0], backend)


@cache
def _namespace_of(ledger: UUID, backend: str) -> Namespace:
    name = identity.short(ledger)
    if backend == default_backend():
        return Namespace(name, name)
    return Namespace(name, f"{name}.{quote(backend, safe='')}")


CACHED.append(_namespace_of)


class Message(NamedTuple):
    """Where the message of one job goes, and what RQ's tools show of it."""

    job_id: UUID
    queue: str
    priority: int
    task: str

    @property
    def rq_queue(self) -> str:
        """The RQ queue of this message, without the name of the ledger."""
        return rq_queue_name(self.queue, self.priority)


def message_key(job_id: UUID | str) -> str:
    """The Redis hash of a message."""
    return f"rq:job:{job_id}"


def job_id_of(raw: Any) -> UUID | None:
    """The job id in what was popped; None for anything that is not one."""
    try:
        return UUID(raw.decode("ascii") if isinstance(raw, bytes) else raw)
    except (ValueError, AttributeError, UnicodeDecodeError):
        return None


class Script:
    """A Lua script: sent by its digest, and whole where Redis does not know it yet.

    redis-py's own loads it by SCRIPT LOAD, which needs one more permission, and asks in each
    pipeline whether it is there, which is one more trip.
    """

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


# KEYS: the list, the set of queues, the mark that workers leave. ARGV: what all have in common,
# which is data before and after the id, description, origin, time, seconds to keep; then the ids.
# An id comes into the list last, so that whoever pops it finds its hash.
PUSH = """
for place = 7, #ARGV do
    local id = ARGV[place]
    local key = 'rq:job:' .. id
    redis.call('HSET', key, 'created_at', ARGV[5], 'enqueued_at', ARGV[5], 'status', 'queued',
        'data', ARGV[1] .. id .. ARGV[2], 'description', ARGV[3], 'origin', ARGV[4])
    redis.call('EXPIRE', key, ARGV[6])
    redis.call('RPUSH', KEYS[1], id)
end
redis.call('SADD', KEYS[2], KEYS[1])
return redis.call('EXISTS', KEYS[3])
"""
# What comes before and after the id in the pickle of a call: all ids are of one length.
_NO_ID = str(UUID(int=0))
_CALL = pickle.dumps((FUNCTION, None, (_NO_ID,), {}), protocol=4).split(_NO_ID.encode())


@fault_point("push")
def push(messages: Sequence[Message], namespace: Namespace, redis: Redis) -> bool:
    """Push the messages in their order, in one trip.

    Returns whether workers of this ledger have been there lately. Raises RedisError; the rows
    stand all the same.
    """

    def send(by_script: bool) -> bool:
        with redis.pipeline(transaction=False) as pipeline:
            execute: Any = pipeline.execute_command
            for command in push_commands(messages, namespace, by_script):
                execute(*command)
            return bool(pipeline.execute()[-1])

    return not messages or run_script(lambda: send(True), lambda: send(False), redis)


def push_commands(
    messages: Iterable[Message], namespace: Namespace, by_script: bool
) -> Iterator[tuple[Any, ...]]:
    """The commands that push these messages in their order; none for none.

    The answer to the last one is 1 if workers of this ledger have been there lately, and else 0.
    by_script: a command for those of one task and queue; else plain ones, for a Redis that runs no
    scripts. In their order too an id comes after its hash.
    """
    keys: list[str] = []
    for keys, args in _parts(messages, namespace):
        if by_script:
            # Whole: by its digest it would have to be sent again where Redis does not know it yet,
            # and nobody waits to hear of that.
            yield ("EVAL", PUSH, str(len(keys)), *keys, *args)
            continue
        before, after, description, origin, time, seconds, *ids = args
        for job_id in ids:
            key, data = message_key(job_id), before + job_id.encode() + after
            values = ("created_at", time, "enqueued_at", time, "status", "queued", "data", data)
            yield ("HSET", key, *values, "description", description, "origin", origin)
            yield ("EXPIRE", key, seconds)
        yield ("RPUSH", keys[0], *ids)
        yield ("SADD", keys[1], keys[0])
    if keys and not by_script:
        yield ("EXISTS", keys[2])


def runs_scripts(redis: Redis) -> bool:
    """Whether this Redis runs scripts for us. Raises RedisError if it does not answer."""
    execute: Any = redis.execute_command
    try:
        return bool(execute("EVAL", "return 1", 0))
    except ResponseError:
        return False


def _parts(
    messages: Iterable[Message], namespace: Namespace
) -> Iterator[tuple[list[str], list[Any]]]:
    """The keys and arguments for messages of one task and RQ queue each, at most AT_ONCE."""
    # As RQ writes a time.
    now = clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    for (rq_queue, task), group in groupby(messages, _queue_and_task):
        keys, constants = _constants(namespace, rq_queue, task)
        # No numbers: hiredis crashes where a signal is handled while it writes one.
        args = [*constants, now, str(MESSAGE_SECONDS)]
        ids = [str(message.job_id) for message in group]
        for start in range(0, len(ids), AT_ONCE):
            yield keys, [*args, *ids[start : start + AT_ONCE]]


def _queue_and_task(message: Message) -> tuple[str, str]:
    return message.rq_queue, message.task


@lru_cache(maxsize=1024)
def _constants(namespace: Namespace, rq_queue: str, task: str) -> tuple[list[str], list[Any]]:
    """The keys of such messages, and what their arguments begin with."""
    keys = [namespace.list_key(rq_queue), QUEUES_KEY, namespace.marker_key]
    return keys, [*_CALL, task, namespace.rq_queue(rq_queue)]


# One round trip between two batches: forget the messages of the last, take the next. Atomic, and it
# tells whether the workers are suspended before anything is taken.
# KEYS: the worker, the mark of the suspension, the set of queues, then the lists in their order.
# ARGV: successes, failures, how our origins begin, how many messages are to be forgotten only if
# they are ours, how many to take of each list, then the messages to forget, the latter at the end.
EXCHANGE = Script("""
local lists = #KEYS - 3
local certain = #ARGV - tonumber(ARGV[4])
for place = 5 + lists, #ARGV do
    local origin = place > certain and redis.pcall('HGET', ARGV[place], 'origin')
    if place <= certain
        or type(origin) == 'string' and string.sub(origin, 1, #ARGV[3]) == ARGV[3]
    then
        redis.call('DEL', ARGV[place])
    end
end
if ARGV[1] ~= '0' then redis.call('HINCRBY', KEYS[1], 'successful_job_count', ARGV[1]) end
if ARGV[2] ~= '0' then redis.call('HINCRBY', KEYS[1], 'failed_job_count', ARGV[2]) end
local suspended, taken, from = redis.call('EXISTS', KEYS[2]), {}, 0
if suspended == 0 then
    for list = 1, lists do
        local count = tonumber(ARGV[4 + list])
        -- To LRANGE, up to -1 would be all of them.
        if count > 0 then taken = redis.call('LRANGE', KEYS[3 + list], 0, count - 1) end
        if #taken > 0 then
            redis.call('LTRIM', KEYS[3 + list], #taken, -1)
            from = list
            break
        end
    end
end
-- RQ's tools fetch the current job, and fail where there is none.
if from > 0 and redis.call('EXISTS', 'rq:job:' .. taken[1]) == 1 then
    redis.call('HSET', KEYS[1], 'current_job', taken[1])
else
    redis.call('HDEL', KEYS[1], 'current_job')
end
if from > 0 then
    redis.call('HSET', KEYS[1], 'state', 'busy')
else
    if suspended == 0 then redis.call('HSET', KEYS[1], 'state', 'idle') end
end
return {suspended, redis.call('SCARD', KEYS[3]), from, taken}
""")


@dataclass(slots=True)
class Finished:
    """What became of messages since the last exchange.

    messages: of jobs that were claimed. unclaimed: of which there was nothing to claim, so that
    they may be anybody's.
    """

    messages: list[UUID] = field(default_factory=list)
    unclaimed: list[UUID] = field(default_factory=list)
    successes: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an exchange gave. queues: how many RQ queues are in use. raw: of what was taken."""

    suspended: bool
    queues: int
    source: str = ""
    raw: tuple[bytes, ...] = ()

    @property
    def ids(self) -> list[UUID]:
        """The job ids; what is not an id is dropped: there is no such job."""
        return [job_id for text in self.raw if (job_id := job_id_of(text)) is not None]


def exchange(
    worker: str,
    finished: Finished,
    rq_queues: Sequence[str],
    counts: Sequence[int],
    namespace: Namespace,
    redis: Redis,
) -> Exchange:
    """Forget finished messages, and take up to `counts` ids from the first list that has some."""
    lists = [namespace.list_key(rq_queue) for rq_queue in rq_queues]
    keys = [worker, SUSPENDED_KEY, QUEUES_KEY, *lists]
    forget = [message_key(job_id) for job_id in (*finished.messages, *finished.unclaimed)]
    start, unclaimed = namespace.rq_queue(""), len(finished.unclaimed)
    args = [finished.successes, finished.failures, start, unclaimed, *counts, *forget]
    suspended, queues, source, raw = run_script(
        lambda: EXCHANGE(keys, args, redis), lambda: _exchange_plainly(keys, args, redis), redis
    )
    name = rq_queues[source - 1] if source else ""
    return Exchange(bool(suspended), queues, name, tuple(raw))


def _exchange_plainly(
    keys: Sequence[str], args: Sequence[Any], redis: Redis
) -> tuple[bool, int, int, Sequence[bytes]]:
    """The same without a script, in a few trips: what was popped twice is claimed once."""
    worker, lists = keys[0], keys[3:]
    successes, failures, start, unclaimed = args[:4]
    counts, forget = args[4 : 4 + len(lists)], args[4 + len(lists) :]
    certain = len(forget) - unclaimed
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.exists(keys[1])
        pipeline.scard(keys[2])
        for key in lists:
            pipeline.llen(key)
        for key in forget[certain:]:
            pipeline.hget(key, "origin")
        suspended, queues, *found = pipeline.execute()
    origins = zip(forget[certain:], found[len(lists) :], strict=True)
    own_keys = [key for key, origin in origins if (origin or b"").startswith(start.encode())]
    filled = enumerate(zip(counts, found, strict=False))
    source = next((n + 1 for n, (count, size) in filled if count and size), 0)
    raw: list[bytes] = []
    if source and not suspended:
        with redis.pipeline() as pipeline:
            pipeline.lrange(lists[source - 1], 0, counts[source - 1] - 1)
            pipeline.ltrim(lists[source - 1], counts[source - 1], -1)
            raw = pipeline.execute()[0]
    with redis.pipeline(transaction=False) as pipeline:
        # First: RQ's tools fetch the current job, and fail where there is none.
        pipeline.hdel(worker, "current_job")
        for key in (*forget[:certain], *own_keys):
            pipeline.delete(key)
        pipeline.hincrby(worker, "successful_job_count", successes)
        pipeline.hincrby(worker, "failed_job_count", failures)
        if raw or not suspended:
            pipeline.hset(worker, "state", "busy" if raw else "idle")
        pipeline.execute()
    job_id = job_id_of(raw[0]) if raw else None
    if job_id is not None and redis.exists(message_key(job_id)):
        redis.hset(worker, "current_job", str(job_id))
    return suspended, queues, source if raw else 0, raw
