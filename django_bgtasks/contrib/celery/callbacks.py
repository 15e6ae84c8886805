"""Jobs that stand between a workflow of Celery's kind and what follows it."""

from __future__ import annotations

from typing import Any

from ...core.states import State
from ...jobs.context import JobContext, context_of
from ...jobs.task import known_task, task
from ...jobs.typed import value_of
from ...models import Batch, Job
from ...workflows.progress import parts_of
from .failures import exception_of_job, last_attempt
from .request import EXTRAS, TaskRequest, request_of_job
from .signature import make_signature


def _name_of(call: Any, *args: Any) -> str:
    return str(call["task"])


@task(takes_context=True, types="django", label=_name_of)
def call_errback(context: JobContext, errback: dict[str, Any]) -> None:
    """Call an errback of what has failed before this job."""
    using = context.using
    gate: Any = context.job.gate
    batch = Batch.objects.using(using).get(pk=gate)
    failed = Job.objects.using(using).filter(batch__in=parts_of(batch, using), state=State.FAILED)
    job = failed.order_by("finished_at", "pk").first()
    if job is None:
        # It was retried meanwhile.
        return
    attempt = last_attempt(job)
    text = "" if attempt is None else attempt.traceback
    make_signature(errback).tell_error(_request_of(job, using), exception_of_job(job), text)


def _request_of(job: Job, using: str) -> TaskRequest:
    found = known_task(job.task)
    moved = None if found is None else getattr(found.func, "task", None)
    if moved is None:
        return TaskRequest(id=str(job.pk), task=job.task, retries=job.attempt - 1)
    args, kwargs = value_of([job.args, job.kwargs]) if job.types else (job.args, job.kwargs)
    extras = kwargs.pop(EXTRAS, None) or {}
    return request_of_job(context_of(job, found, using), moved, args, kwargs, extras)


@task(types="django", label=_name_of)
def apply_link(link: dict[str, Any], *result: Any) -> None:
    """Enqueue a chain, group or chord that follows something else."""
    make_signature(link).apply_async(result)


@task(types="django", label=_name_of)
def map_calls(call: dict[str, Any], calls: list[Any], starred: bool) -> list[Any]:
    """Call a task here with each of these arguments; what it returns, in their order."""
    found = make_signature(call)
    return [found(*each) if starred else found(each) for each in calls]
