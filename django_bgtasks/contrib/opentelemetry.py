"""OpenTelemetry: a span where a job is enqueued, and one for each attempt, linked to it.

It may be imported by the settings, and needs the extra `opentelemetry`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags

from .. import (
    ClaimLost,
    JobCancelled,
    Middleware,
    RetryLater,
    add_middleware,
    process_stopping,
    remove_middleware,
)

if TYPE_CHECKING:
    from .. import JobContext
    from ..models import Job

FLUSH_MILLISECONDS = 2000
# What is no failure of the task's.
NO_ERRORS = (ClaimLost, JobCancelled, RetryLater)
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def instrument() -> None:
    """Make spans with the global tracer provider from now on; to call it twice changes nothing."""
    add_middleware(_tracing)
    process_stopping.connect(_flush)


def uninstrument() -> None:
    """Make no more spans."""
    remove_middleware(_tracing)
    process_stopping.disconnect(_flush)


class _Tracing(Middleware):
    def on_enqueue(self, jobs: Sequence[Job]) -> None:
        first = jobs[0]
        facts = {**_facts(first, "send"), "messaging.batch.message_count": len(jobs)}
        if len(jobs) == 1:
            facts["messaging.message.id"] = str(first.pk)
        with _tracer().start_as_current_span(
            f"send {first.queue}", kind=SpanKind.PRODUCER, attributes=facts
        ) as span:
            if span.is_recording():
                header = _header(span.get_span_context())
                for job in jobs:
                    job.trace = header

    @contextmanager
    def around(self, context: JobContext) -> Iterator[None]:
        job = context.job
        facts = {
            **_facts(job, "process"),
            "messaging.message.id": str(job.pk),
            "bgtasks.attempt": job.attempt,
        }
        origin = _origin(job)
        with _tracer().start_as_current_span(
            f"process {job.queue}",
            # A trace of its own: a job may run long after the request that enqueued it, and often.
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes=facts,
            links=[Link(origin)] if origin else [],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                if span.is_recording() and not isinstance(error, NO_ERRORS):
                    _record(error, context, span)
                raise


_tracing = _Tracing()


def _tracer() -> trace.Tracer:
    return trace.get_tracer("django_bgtasks")


def _facts(job: Job, operation: str) -> dict[str, Any]:
    return {
        "messaging.system": "django_bgtasks",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": job.queue,
        "bgtasks.task": job.task,
    }


def _record(error: BaseException, context: JobContext, span: trace.Span) -> None:
    failure = context.failure_of(error)
    facts = {
        "exception.type": failure.exception_class,
        "exception.message": failure.message,
        "exception.stacktrace": failure.traceback,
    }
    span.add_event("exception", facts)
    span.set_status(StatusCode.ERROR, failure.line)


def _header(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _origin(job: Job) -> SpanContext | None:
    """The span that enqueued the job; None if there was none, or somebody wrote nonsense."""
    found = TRACEPARENT.fullmatch(job.trace or "")
    if found is None:
        return None
    ids = (int(found[1], 16), int(found[2], 16))
    context = SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(int(found[3], 16)))
    return context if context.is_valid else None


def _flush(**kwargs: Any) -> None:
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush(FLUSH_MILLISECONDS)
