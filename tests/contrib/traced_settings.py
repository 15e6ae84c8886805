"""The site of the tests, traced. TRACE_FILE: where the spans go."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from django_bgtasks.contrib.opentelemetry import instrument
from tests.settings import *  # noqa: F403


class ToFile(SpanExporter):
    """A line of JSON for each span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path(os.environ["TRACE_FILE"]).open("a") as file:
            file.writelines(f"{json.dumps(json.loads(span.to_json()))}\n" for span in spans)
        return SpanExportResult.SUCCESS


provider = TracerProvider()
# The last spans of a process are still to be exported when it ends.
provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=600_000))
trace.set_tracer_provider(provider)
instrument()
