"""Steps 2 and 3: a call becomes a row in the caller's transaction, and a message with its commit.

Next: worker/job_process.py (4 the pop).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections, transaction

from ..core import clock
from ..core.dedup import dedup_of
from ..core.errors import DuplicateJob, Interruption, InvalidArguments, QueueFull
from ..core.labels import label_of
from ..core.limits import LaneMode, lane_of, rate_of
from ..core.options import backend_of, backend_settings
from ..core.payload import json_value, masked_key, plain, refuse_wrong_call
from ..core.states import WAITING, State, WaitsFor
from ..core.values import COPIED_BY, TYPED
from ..ledger.admission import LANE, RATE, Kind
from ..ledger.connection import retry_on_conflict
from ..ledger.lanes import Admitted, admit
from ..ledger.lifecycle import holder_of, insert, ledger_database, set_dedup, set_limits, waiting_in
from ..ledger.statements import meanwhile, unsaved
from ..ledger.transitions import replace_call
from ..models import Job
from ..transport.connection import needs_redis, reason, uses_redis
from ..transport.messages import AHEAD_SECONDS, Message, known_namespace, namespace_of
from ..transport.sender import Outgoing, senders
from .attach import attach
from .busy import cancel_busy
from .carried import carried_of, carry
from .deadline import deadline_of
from .keeper import Ready, find_keeper
from .middleware import middleware_of
from .results import JobResult, announce, result_of
from .task import RETRIES, BackgroundTask, own_retry, runs_inline

logger = logging.getLogger("django_bgtasks.dispatch")

# So many keys of limits in one statement.
PAGE = 100
# How often a key is looked for that is taken and free again at the same moment.
LOOKS = 50
# A message that was sent no longer ago has a worker that looks for its row: see AHEAD_SECONDS.
SENT_JUST_NOW = AHEAD_SECONDS / 2
_without_dispatch: ContextVar[bool] = ContextVar("bgtasks_without_dispatch", default=False)
# What runs those of such jobs that are to run inline, and returns the others: known further up.
RUN_INLINE: list[Callable[[Ready], Ready]] = []
AnyTask = BackgroundTask[Any, Any]


def enqueue(
    task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any], django_task: Any
) -> JobResult[Any]:
    """Insert one job, or find the live one that stands for it. django_task: the result's task."""
    if task.batch is not None:
        with task.batch.locked():
            return _enqueue(task, args, kwargs, django_task)
    return _enqueue(task, args, kwargs, django_task)


def _enqueue(
    task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any], django_task: Any
) -> JobResult[Any]:
    using = ledger_database()
    job = build(task, args, kwargs)
    try:
        check_depth(job.backend, job.queue, 1, using)
    except QueueFull:
        # A duplicate adds nothing to the queue.
        if job.dedup_slot is None or holder_of(job.dedup_slot, using) is None:
            raise
    if carried_of(job.backend):
        carry([job], job.backend, job.task)
    for middleware in middleware_of(job.backend):
        middleware.on_enqueue([job])
    return result_for(job, _insert(job, task, using), django_task)


def limit_call(job: Job, task: AnyTask, args: Any, kwargs: Any) -> None:
    """Put the limits of a call onto its row."""
    has_lane = task.limit is not None or task.sequence is not None
    lane = lane_of(task, args, kwargs) if has_lane else None
    rate = None if task.rate is None else rate_of(task, args, kwargs)
    set_limits(job, lane, rate, task.rate)


def insert_built(jobs: Sequence[Job], task: AnyTask, using: str) -> list[Job]:
    """Insert jobs of one call for several times, in the current transaction, and send them after
    its commit. Returns those that were inserted: for the others live ones stand.
    """
    backend = jobs[0].backend
    check_depth(backend, jobs[0].queue, len(jobs), using)
    if carried_of(backend):
        carry(jobs, backend, task.module_path)
    for middleware in middleware_of(backend):
        middleware.on_enqueue(jobs)
    inserted = []
    for job in jobs:
        with suppress(DuplicateJob):
            if _insert(job, task, using) is job:
                inserted.append(job)
    return inserted


def build(task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
    """The unsaved row of a call. Raises InvalidArguments for what cannot be stored or called."""
    options, path = backend_settings(task.backend).options, task.module_path
    refuse_wrong_call(task, args, kwargs)
    types = TYPED if (task.types or options.types) == TYPED else ""
    copied_by = COPIED_BY.get(types)
    job = unsaved(
        task=path,
        queue=plain(task.queue_name),
        priority=int(task.priority),
        args=json_value(list(args), "args", path, InvalidArguments, copied_by),
        kwargs=json_value(dict(kwargs), "kwargs", path, InvalidArguments, copied_by),
        types=types,
        state=State.SCHEDULED if task.run_after else State.QUEUED,
        run_after=task.run_after,
        max_attempts=task.retry.max_attempts,
        retry=None if RETRIES.get(path) is task.retry else own_retry(task),
        timeout=float(task.timeout or options.timeout),
        on_crash=task.on_crash,
        backend=task.backend,
    )
    if task.dedup_key is not None and (dedup := dedup_of(task, args, kwargs)) is not None:
        set_dedup(job, dedup)
    if task.label is not None:
        job.label = label_of(task, args, kwargs, (job.args, job.kwargs) if types else None)
    if task.expires is not None:
        job.expires_at = deadline_of(task)
    if is_limited(task):
        limit_call(job, task, args, kwargs)
    if task.owner is not None or task.about is not None:
        attach(job, task)
    if task.batch is not None:
        task.batch.put(job)
    return job


def _insert(job: Job, task: AnyTask, using: str) -> Job:
    """Insert the job, or find the live one that stands for it, and return that."""
    is_message = job.state == State.QUEUED and not runs_inline(task)
    push = _push_of([message_for(job)], job.backend, using) if is_message else None
    try:
        if push is not None and _commits_at_once(using):
            meanwhile.calls.append(push.prepare)
            meanwhile.committing = push.send_early
        is_inserted = retry_on_conflict(lambda: insert(job, using), using)
    finally:
        meanwhile.clear()
    if not is_inserted:
        return find_holder(job, task, using)
    if push is not None:
        push.after_commit()
    elif not is_message:
        send_on_commit([job], task, using)
    return job


def find_holder(job: Job, task: AnyTask, using: str) -> Job:
    """The job that holds the key of this one, after what `on_duplicate` asks for."""
    for _look in range(LOOKS):
        holder = holder_of(job.dedup_slot or "", using)
        if holder is None:
            # It ended between our insert and our look: the key is free again.
            if retry_on_conflict(lambda: insert(job, using), using):
                send_on_commit([job], task, using)
                return job
        elif task.on_duplicate == "raise":
            raise _refused(job, task, f"Job {holder.pk} ({holder.state}) holds", holder.pk)
        elif task.on_duplicate != "replace" or holder.state not in WAITING:
            return holder
        elif replace_call(holder, job, using):
            # What it had of its limits before may be for others now.
            admit_next([holder], using)
            holder.refresh_from_db(using=using)
            send_on_commit([holder], task, using)
            return holder
    raise _refused(job, task, f"After {LOOKS} looks no job was found that holds")


def send_on_commit(jobs: list[Job], task: AnyTask, using: str) -> None:
    """Send them to workers after the commit, unless this process runs them: see inline.py."""
    if not runs_inline(task):
        dispatch_on_commit(jobs, using)


def _refused(job: Job, task: AnyTask, who: str, holder: UUID | None = None) -> DuplicateJob:
    return DuplicateJob(
        f"{who} the dedup key {masked_key(task, job.dedup_key)!r} of {task.module_path}. "
        f"Nothing was enqueued.",
        holder,
    )


def result_for(job: Job, stands: Job, task: Any) -> JobResult[Any]:
    """The result of the call that would be `job`. Sends the signal that goes with it."""
    result = result_of(stands, task, deduplicated=stands is not job)
    announce("task_enqueued" if stands is job else "job_deduplicated", stands, task, result)
    return result


def check_depth(backend: str, queue: str, count: int, using: str) -> None:
    options = backend_settings(backend).options
    limit = None if options.max_depth is None else options.depth_of(queue)
    if limit is not None and waiting_in(queue, backend, limit, using) + count > limit:
        raise QueueFull(queue, limit)


def is_limited(task: AnyTask) -> bool:
    """Whether calls of the task may have a limit, a sequence or a rate; inline ones have none."""
    limits = (task.limit, task.sequence, task.rate)
    return limits != (None, None, None) and not runs_inline(task)


def dispatch_on_commit(jobs: list[Job], using: str) -> None:
    """After the commit of the current transaction push those of these jobs that are queued, and
    give places and seats to those that wait for them.
    """
    messages = [message_for(job) for job in jobs if job.state == State.QUEUED]
    if messages:
        push_on_commit(messages, jobs[0].backend, using)
    if waiting := [job for job in jobs if job.state == State.BLOCKED]:
        impatient = [job.id for job in waiting if job.lane_mode == LaneMode.SKIP]
        lanes = {job.lane or "": () for job in waiting if job.waits_for == WaitsFor.LANE}
        rates = {job.rate or "" for job in waiting if job.waits_for == WaitsFor.RATE}
        admit_on_commit(lanes, rates, using, impatient)


def admit_next(jobs: Sequence[Job], using: str) -> None:
    """After the commit let in those that wait behind these jobs, which have ended or gone
    elsewhere.
    """
    lanes = {job.lane: () for job in jobs if job.lane}
    rates = {job.rate for job in jobs if job.rate}
    if lanes or rates:
        admit_on_commit(lanes, rates, using)


def admit_on_commit(
    lanes: Mapping[str, Sequence[int]],
    rates: Collection[str],
    using: str,
    impatient: Sequence[UUID] = (),
) -> None:
    """Give the free places of these lanes, and the free seats of these rates, to the next jobs,
    after the commit.

    lanes: for each the numbers that the current transaction frees. impatient: the jobs that are
    cancelled if they do not get a place.
    """
    connection: Any = connections[using]
    last = connection.run_on_commit[-1] if connection.run_on_commit else None
    if last and isinstance(last[1], _Admission) and last[0] == set(connection.savepoint_ids):
        last[1].add(lanes, rates, impatient)
        return
    admission = _Admission(using)
    admission.add(lanes, rates, impatient)
    connection.on_commit(admission, robust=True)


@dataclass(slots=True)
class _Admission:
    """What a transaction has to look for when it has committed."""

    using: str
    lanes: dict[str, list[int]] = field(default_factory=dict)
    rates: set[str] = field(default_factory=set)
    impatient: list[UUID] = field(default_factory=list)

    def add(
        self,
        lanes: Mapping[str, Sequence[int]],
        rates: Collection[str],
        impatient: Sequence[UUID],
    ) -> None:
        for lane, numbers in lanes.items():
            self.lanes.setdefault(lane, []).extend(numbers)
        self.rates.update(rates)
        self.impatient += impatient

    def __call__(self) -> None:
        try:
            admit_now(self.lanes, self.rates, self.using, self.impatient)
        except Exception:
            logger.exception("Jobs that wait for a place are left to maintenance.")


def admit_now(
    lanes: Mapping[str, Sequence[int]],
    rates: Collection[str],
    using: str,
    impatient: Sequence[UUID] = (),
) -> int:
    """admit_on_commit(), of what is committed. Returns how many jobs were let in."""
    keeper = find_keeper()
    if keeper is not None and lanes:
        lanes = {lane: lanes[lane] for lane in keeper.look(lanes)}
    placed = _admit_all(LANE, lanes, using)
    ready = [job for job in placed if not job.waits_for]
    rates = {*rates, *(job.rate or "" for job in placed if job.waits_for)}
    ready += _admit_all(RATE, dict.fromkeys(rates, ()), using)
    _send_or_keep(ready)
    if impatient and (left := cancel_busy(impatient, using)):
        admit_now(dict.fromkeys(left, ()), (), using)
    return len(ready)


def start_on_commit(jobs: Sequence[Job], using: str) -> None:
    """start_jobs(), after the commit of the current transaction."""
    if jobs:
        transaction.on_commit(partial(start_jobs, jobs, using), using, robust=True)


def start_jobs(jobs: Sequence[Job], using: str) -> None:
    """Send those of these jobs that can run now, or keep them for this process; give places to
    those that wait for one. Their rows are committed.
    """
    _send_or_keep([job for job in jobs if job.state == State.QUEUED])
    dispatch_on_commit([job for job in jobs if job.state == State.BLOCKED], using)


def _send_or_keep(jobs: Ready) -> None:
    keeper = find_keeper()
    rest = jobs if keeper is None else keeper.keep(jobs)
    for run in RUN_INLINE:
        rest = run(rest)
    send_now(rest)


def _admit_all(kind: Kind, freed: Mapping[str, Sequence[int]], using: str) -> list[Admitted]:
    """admit(), of some keys at a time: the statement looks for each number among those of all."""
    keys = list(freed)
    pages = [keys[first : first + PAGE] for first in range(0, len(keys), PAGE)]
    return [job for page in pages for job in admit(kind, {key: freed[key] for key in page}, using)]


def send_now(jobs: Iterable[Job | Admitted]) -> None:
    """Dispatch queued jobs now, in the order in which they were enqueued."""
    ordered = sorted(jobs, key=lambda job: (job.backend, job.id))
    for stored, group in groupby(ordered, key=lambda job: job.backend):
        backend = backend_of(stored)
        # For one that TASKS does not have, those send who know it.
        if backend is not None and uses_redis(backend) and not _without_dispatch.get():
            dispatch([message_for(job) for job in group], backend)


def push_on_commit(messages: list[Message], backend: str, using: str) -> None:
    """Push messages after the commit of the current transaction, many in one go.

    backend: as the rows have it. One that TASKS does not have is for others to send to.
    """
    if (push := _push_of(messages, backend, using)) is not None:
        push.after_commit()


def _push_of(messages: list[Message], backend: str, using: str) -> _Push | None:
    """What will push these messages; None if they go nowhere."""
    home = backend_of(backend)
    if _without_dispatch.get() or home is None:
        return None
    # The first answer costs nothing.
    return _Push(messages, home, using) if needs_redis(home) or uses_redis(home) else None


def _commits_at_once(using: str) -> bool:
    """Whether each statement is a transaction of its own here, as far as Django knows."""
    connection: Any = connections[using]
    return bool(connection.autocommit) and not connection.in_atomic_block


def _last_push(connection: Any) -> _Push | None:
    """The hook that was registered last, if it is a push that shares the fate of one made now."""
    if not connection.run_on_commit:
        return None
    savepoints, hook = connection.run_on_commit[-1][:2]
    same_fate = savepoints == set(connection.savepoint_ids)
    return hook if isinstance(hook, _Push) and same_fate else None


def _met_later(act: Callable[[_Push], None]) -> Callable[[_Push], None]:
    """What fails is met again, and told, when the message is sent after the commit."""

    def call(push: _Push) -> None:
        try:
            act(push)
        except Exception as error:
            if isinstance(error, Interruption):
                raise

    return call


@dataclass(slots=True)
class _Push:
    """What a transaction pushes when it has committed."""

    messages: list[Message]
    backend: str
    using: str
    outgoing: Outgoing | None = None
    is_sent: bool = False

    @_met_later
    def prepare(self) -> None:
        """Make all ready but the sending. While a statement is under way: it asks no database."""
        namespace = known_namespace(self.backend, self.using)
        if namespace is not None:
            sender = senders.of(self.backend)
            self.outgoing = sender.prepare(self.messages, namespace, self.using)

    @_met_later
    def send_early(self) -> None:
        """Send it while its row is committed: the way to a worker takes about as long.

        A worker that comes too early looks again for a while. The message is no more than a hint:
        should the commit come to nothing, it leads to no row.
        """
        meanwhile.committing = None
        if self.outgoing is not None:
            self.is_sent = senders.of(self.backend).push_early(self.outgoing)

    def after_commit(self) -> None:
        """Push after the commit of the current transaction, if it was not just sent: a crash here
        delays a job, never loses one, for maintenance finds its row.
        """
        if self.outgoing is not None and self.is_sent:
            if clock.monotonic() - self.outgoing.sent_at < SENT_JUST_NOW:
                return
            # Who has taken it may have given up looking for its row.
            self.outgoing, self.is_sent = None, False
        connection: Any = connections[self.using]
        last = _last_push(connection)
        if last is not None and last.backend == self.backend:
            last.messages += self.messages
            last.outgoing = None
        elif connection.in_atomic_block or not connection.autocommit:
            if len(self.messages) == 1:
                # Its worker waits for the commit. What is made of several is made anew with each.
                self.prepare()
            connection.on_commit(self, robust=True)
        else:
            # It is committed already.
            self()

    def __call__(self) -> None:
        try:
            if self.outgoing is None:
                dispatch(self.messages, self.backend, self.using)
            else:
                senders.of(self.backend).push(self.outgoing)
        except Exception:
            # Not by Django, which asks for the name of a function that raises: this has none.
            logger.exception("Messages could not be sent. The jobs are stored.")


def dispatch(messages: Sequence[Message], backend: str, using: str | None = None) -> bool:
    """Send messages now, without waiting for Redis. False if it is away: maintenance sends them."""
    using = using or ledger_database()
    try:
        namespace = namespace_of(backend, using)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("The database is away (%s). The job is stored.", reason(error))
        return False
    return senders.of(backend).send(messages, namespace, using)


def message_for(job: Job | Admitted) -> Message:
    """The message of a job's row."""
    return Message(job.id, job.queue, job.priority, job.task)


def fresh_context() -> Context:
    """A context of variables as a worker's job has it: empty, but for without_dispatch()."""
    context = Context()
    context.run(_without_dispatch.set, _without_dispatch.get())
    return context


@contextmanager
def without_dispatch() -> Iterator[None]:
    """Within it nothing is pushed: for tests, which run jobs from the database."""
    token = _without_dispatch.set(True)
    try:
        yield
    finally:
        _without_dispatch.reset(token)
