"""OpenTelemetry, the real SDK: the spans of a job on both sides of the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from django_bgtasks.contrib import opentelemetry
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.workers import WorkerFactory

from . import tasks

IBAN = "DE89370400440532013000"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch, db: None) -> Iterator[InMemorySpanExporter]:
    """All spans that have ended, with a tracer provider of this test's own."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(opentelemetry, "_tracer", lambda: provider.get_tracer("tests"))
    opentelemetry.instrument()
    yield exporter
    opentelemetry.uninstrument()


def of_kind(exporter: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.kind == kind]


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_each_attempt_is_a_span_that_is_linked_to_the_one_that_enqueued_the_job(
    spans: InMemorySpanExporter,
) -> None:
    job: Any = tasks.break_down_always.enqueue()
    run_jobs()
    [sent] = of_kind(spans, SpanKind.PRODUCER)
    attempts = of_kind(spans, SpanKind.CONSUMER)
    assert facts(sent)["messaging.message.id"] == job.id
    assert [facts(span)["bgtasks.attempt"] for span in attempts] == [1, 2, 3]
    for span in attempts:
        assert [link.context.span_id for link in span.links] == [sent.context.span_id]
        assert span.links[0].context.trace_id == sent.context.trace_id != span.context.trace_id
        assert facts(span)["messaging.destination.name"] == "default"
        assert span.status.status_code == StatusCode.ERROR
        assert span.events[0].name == "exception"


@pytest.mark.parametrize("task", [tasks.log, tasks.log_async])
def test_jobs_that_are_enqueued_together_have_one_span_and_each_is_linked_to_it(
    spans: InMemorySpanExporter, task: Any
) -> None:
    task.enqueue_many([(1,), (2,), (3,)])
    run_jobs()
    [sent] = of_kind(spans, SpanKind.PRODUCER)
    assert facts(sent)["messaging.batch.message_count"] == 3
    attempts = of_kind(spans, SpanKind.CONSUMER)
    assert [span.links[0].context.span_id for span in attempts] == [sent.context.span_id] * 3
    assert {span.status.status_code for span in attempts} == {StatusCode.UNSET}


def test_sensitive_arguments_are_in_no_span(spans: InMemorySpanExporter) -> None:
    tasks.break_down_with.enqueue(IBAN)
    run_jobs()
    text = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "is refused" in text
    assert IBAN not in text


def test_without_a_span_nothing_is_written_and_nonsense_in_the_row_is_no_link(
    spans: InMemorySpanExporter,
) -> None:
    opentelemetry.uninstrument()
    job: Any = tasks.log.enqueue(1)
    assert Job.objects.get(pk=job.id).trace is None
    opentelemetry.instrument()
    for nonsense in ("", "x" * 55, f"00-{'0' * 32}-{'0' * 16}-01"):
        Job.objects.update(state="queued", finished_at=None, result=None, trace=nonsense)
        run_jobs()
    attempts = of_kind(spans, SpanKind.CONSUMER)
    assert [len(span.links) for span in attempts] == [0, 0, 0]


def test_without_a_provider_nothing_is_recorded(db: None) -> None:
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        pytest.skip("this process has a tracer provider")
    opentelemetry.instrument()
    try:
        tasks.log.enqueue(1)
        [job] = run_jobs()
    finally:
        opentelemetry.uninstrument()
    assert (job.state, job.trace) == ("succeeded", None)


def test_a_worker_exports_its_last_spans_before_its_processes_end(
    bgworker: WorkerFactory, tmp_path: Path
) -> None:
    jobs: list[Any] = [task.enqueue(n) for n in range(3) for task in (tasks.log, tasks.log_async)]
    header = f"00-{7:032x}-{8:016x}-01"
    Job.objects.update(trace=header)
    file = tmp_path / "spans"
    env = {"DJANGO_SETTINGS_MODULE": "tests.contrib.traced_settings", "TRACE_FILE": str(file)}
    worker = bgworker("--burst", "--threads", 2, env=env)
    assert worker.wait() == 0
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert {span["attributes"]["messaging.message.id"] for span in found} == {j.id for j in jobs}
    assert len(found) == len(jobs)
    assert {span["links"][0]["context"]["span_id"] for span in found} == {f"0x{8:016x}"}
