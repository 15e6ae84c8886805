"""Many calls of one task at once: their rows in one INSERT, and their messages in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any
from uuid import UUID

from ..core import clock
from ..core.compat import InvalidTask
from ..core.errors import InvalidArguments
from ..core.labels import label_of
from ..core.payload import json_value, refuse_wrong_call
from ..core.states import State
from ..core.values import COPIED_BY
from ..ledger.connection import in_transaction
from ..ledger.lifecycle import (
    Call,
    estimate_expiry,
    insert,
    insert_calls,
    job_of,
    ledger_database,
)
from ..ledger.statement_texts import DEFAULTS, OF_LIMITS
from ..models import Job
from .carried import carried_of, carry
from .enqueue import (
    AnyTask,
    build,
    check_depth,
    dispatch_on_commit,
    find_holder,
    is_limited,
    limit_call,
    message_for,
    push_on_commit,
    result_for,
    send_on_commit,
)
from .middleware import middleware_of
from .results import JobResult, Results, UnsavedJobs, announce, is_heard
from .task import runs_inline

CHUNK = 1000


def enqueue_many(task: AnyTask, calls: Iterable[Any], django_task: Any) -> Sequence[JobResult[Any]]:
    """Insert a job for each call; all of them or none. django_task: the task of the results."""
    using = ledger_database()
    split = [_split(call, task) for call in calls]
    if not split:
        return []
    if task.batch is not None:
        with task.batch.locked():
            return _enqueue_all(task, split, django_task, using)
    return _enqueue_all(task, split, django_task, using)


def _enqueue_all(
    task: AnyTask, split: Sequence[Any], django_task: Any, using: str
) -> Sequence[JobResult[Any]]:
    if task.dedup_key is not None:
        jobs = [build(task, *call) for call in split]
        if carried_of(task.backend):
            carry(jobs, task.backend, task.module_path)
        for middleware in middleware_of(task.backend):
            middleware.on_enqueue(jobs)
        found = in_transaction(lambda: _insert_keyed(jobs, task, using), using)
        return [result_for(job, found[job.pk], django_task) for job in jobs]
    return _enqueue_alike(build(task, *split[0]), split, task, django_task, using)


def _enqueue_alike(
    first: Job, split: Sequence[Any], task: AnyTask, django_task: Any, using: str
) -> Sequence[JobResult[Any]]:
    """Enqueue calls that differ in their arguments and labels only. first: the job of the first."""
    calls = calls_of(first, split, task)
    if carried_of(first.backend):
        carry([first], first.backend, task.module_path)
    for middleware in middleware_of(first.backend):
        middleware.on_enqueue(UnsavedJobs(first, calls))
    in_transaction(lambda: _insert_alike(first, calls, task, using), using)
    estimate_expiry(first, clock.now_as_stored())
    results = Results(first, calls, django_task, using)
    if is_heard("task_enqueued"):
        for result in results:
            announce("task_enqueued", result.job, django_task, result)
    return results


def calls_of(first: Job, split: Sequence[Any], task: AnyTask) -> list[Call]:
    """What the calls of a task have of their own. first: the job of the first, which gets its id.

    Raises InvalidArguments for what cannot be stored or called.
    """
    for args, kwargs in split:
        refuse_wrong_call(task, args, kwargs)
    where, copied_by = task.module_path, COPIED_BY.get(first.types)
    calls: list[Call] = [
        (
            clock.new_id(),
            json_value(list(args), "args", where, InvalidArguments, copied_by),
            json_value(kwargs, "kwargs", where, InvalidArguments, copied_by),
        )
        for args, kwargs in split
    ]
    # As a middleware sees it, it has the id of its row.
    first.pk = calls[0][0]
    if task.label is not None or is_limited(task):
        calls = [
            (*call, *_own_values(first, task, args, kwargs, call))
            for call, (args, kwargs) in zip(calls, split, strict=True)
        ]
    return calls


def _own_values(first: Job, task: AnyTask, args: Any, kwargs: Any, call: Any) -> tuple[Any, ...]:
    """What a call has of its own besides its arguments: see ledger.statement_texts.OWN."""
    typed = call[1:3] if first.types else None
    label = "" if task.label is None else label_of(task, args, kwargs, typed)
    if not is_limited(task):
        return (label,)
    job = copy(first)
    job.state, job.waits_for = State.SCHEDULED if first.run_after else State.QUEUED, ""
    job.__dict__.update({name: DEFAULTS[name] for name in OF_LIMITS})
    limit_call(job, task, args, kwargs)
    if first.gate is not None:
        job.state, job.waits_for = first.state, first.waits_for
    return label, job.state, job.waits_for, *(getattr(job, name) for name in OF_LIMITS)


def _insert_alike(first: Job, calls: Sequence[Call], task: AnyTask, using: str) -> None:
    check_depth(first.backend, first.queue, len(calls), using)
    for start in range(0, len(calls), CHUNK):
        chunk = calls[start : start + CHUNK]
        insert_calls(first, chunk, using)
        if runs_inline(task):
            continue
        if is_limited(task):
            dispatch_on_commit([job_of(first, call) for call in chunk], using)
        elif first.state == State.QUEUED:
            messages = [message_for(first)._replace(job_id=call[0]) for call in chunk]
            push_on_commit(messages, first.backend, using)


def _insert_keyed(jobs: list[Job], task: AnyTask, using: str) -> dict[UUID, Job]:
    """Insert these jobs. For each its id, and the job that stands for it."""
    check_depth(jobs[0].backend, jobs[0].queue, len(jobs), using)
    # All calls take their keys in the same order, so that no two of them wait for each other.
    ordered = sorted(jobs, key=lambda job: job.dedup_slot or "")
    inserted = {job.pk for job in ordered if insert(job, using)}
    send_on_commit([job for job in jobs if job.pk in inserted], task, using)
    return {job.pk: job if job.pk in inserted else find_holder(job, task, using) for job in ordered}


def _split(call: Any, task: AnyTask) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(call, Mapping):
        return (), call
    if isinstance(call, tuple | list):
        return call, {}
    raise InvalidTask(
        f"{task.module_path}.enqueue_many() takes for each job a tuple of arguments or a dict of "
        f"keyword arguments, not {type(call)}."
    )
