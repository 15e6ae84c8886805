"""What the step before has returned, read from the rows when a step begins."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from typing import Any
from uuid import UUID

from ..core.flows import CALLBACKS
from ..core.states import State
from ..core.tags import RESULT, TAG, placeholder_in
from ..jobs.typed import acall_of, call_of, value_of
from ..models import Batch, BatchKind, Job
from ..sandbox.threads import in_passing

# Rows in one query.
PAGE = 1000
Call = tuple[list[Any], dict[str, Any]]


def arguments_of(run: Any, hold: Any) -> Call:
    """The arguments with which a run calls its task, where they are not as its job's row has them.

    See call_of() for `hold`, and for what it raises.
    """
    job: Job = run.job
    call = call_of(job, run.task, hold) if job.types else (job.args, job.kwargs)
    return with_results(job, call, run.using) if _has_placeholders(job) else call


async def aarguments_of(run: Any, hold: Any) -> Call:
    """arguments_of(), for a coroutine."""
    job: Job = run.job
    call = await acall_of(job, run.task, hold) if job.types else (job.args, job.kwargs)
    if not _has_placeholders(job):
        return call
    values: Call = await in_passing(with_results, job, call, run.using)
    return values


def _has_placeholders(job: Job) -> bool:
    return job.gate is not None and any(map(placeholder_in, [*job.args, *job.kwargs.values()]))


def with_results(job: Job, call: Call, using: str) -> Call:
    """The arguments of a step, with what the step before has returned where they name it."""
    values: dict[str, Any] = {}

    def value(stored: Any, argument: Any) -> Any:
        kind = placeholder_in(stored)
        if kind and kind not in values:
            read = read_result if kind == RESULT[TAG] else read_results
            values[kind] = read(job.gate, using)
        return values[kind] if kind else argument

    args, kwargs = call
    return (
        [value(*pair) for pair in zip(job.args, args, strict=True)],
        {name: value(job.kwargs[name], argument) for name, argument in kwargs.items()},
    )


def read_result(gate: Any, using: str) -> Any:
    """What a job returned, the last step of a chain, or the jobs of a group, as a list.

    None for what has not succeeded.
    """
    batch = Batch.objects.using(using).filter(pk=gate).first()
    if batch is None:
        return _value_of(Job.objects.using(using).filter(pk=gate).first())
    if batch.kind == BatchKind.GROUP:
        return list(results_of(batch, using))
    last_job = _steps(batch, using).order_by("-pk").first()
    parts = Batch.objects.using(using).filter(parent=batch.pk).order_by("-pk")
    part = parts.first()
    if part is not None and (last_job is None or part.pk > last_job.pk):
        return read_result(part.pk, using)
    return _value_of(last_job)


def read_results(gate: Any, using: str) -> list[Any]:
    """What the jobs of a group returned, in the order in which it was given; of a job or a chain
    the one result.
    """
    batch = Batch.objects.using(using).filter(pk=gate).first()
    if batch is not None and batch.kind == BatchKind.GROUP:
        return list(results_of(batch, using))
    return [read_result(gate, using)]


def iterate_results(gate: Any, using: str) -> Iterator[Any]:
    """read_results(), a page at a time: there may be more than the memory holds."""
    batch = Batch.objects.using(using).filter(pk=gate).first()
    if batch is not None and batch.kind == BatchKind.GROUP:
        yield from results_of(batch, using)
    elif gate:
        yield read_result(gate, using)


def results_of(batch: Batch, using: str) -> Iterator[Any]:
    """What the elements of a group returned, in their order; None for one without success."""
    parts = Batch.objects.using(using).filter(parent=batch.pk).order_by("pk")
    part_ids = list(parts.values_list("pk", flat=True))
    rows = merge(_pages(batch, using), ((part_id, None) for part_id in part_ids), key=_id)
    for part_id, job in rows:
        yield read_result(part_id, using) if job is None else _value_of(job)


def _id(row: tuple[UUID, Job | None]) -> UUID:
    return row[0]


def _pages(batch: Batch, using: str) -> Iterator[tuple[UUID, Job | None]]:
    rows = _steps(batch, using).only("state", "result", "types").order_by("pk")
    page = list(rows[:PAGE])
    while page:
        yield from ((job.pk, job) for job in page)
        page = list(rows.filter(pk__gt=page[-1].pk)[:PAGE])


def _steps(batch: Batch, using: str) -> Any:
    return Job.objects.using(using).filter(batch=batch.pk).exclude(gate_on__in=sorted(CALLBACKS))


def _value_of(job: Job | None) -> Any:
    if job is None or job.state != State.SUCCEEDED:
        return None
    return value_of(job.result) if job.types else job.result
