"""The progress of a job or a workflow as Server-Sent Events, on ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import translation
from django.utils.cache import add_never_cache_headers, patch_cache_control

from ..core import clock
from ..models import Batch, Job
from .auth import Viewer, read_again, row_for
from .serializers import serialize_progress
from .status import REREAD_SECONDS

HEARTBEAT = 15.0
# A stream ends after this long, and the browser opens another one: a deployment can drain, and who
# has lost the right to see the job is noticed.
LONGEST_STREAM = 300.0


async def job_events(request: HttpRequest, job_id: UUID) -> HttpResponseBase:
    """A stream of the changes of a job or a batch until it is final; 404 as with `job_status`.

    Each event is the JSON of `job_status`, with its version as id: a browser that reconnects gets
    what is newer. Under WSGI a stream would hold a thread: it answers 406, use `?wait=` there.
    """
    if request.method != "GET":
        return HttpResponse(status=405, headers={"Allow": "GET"})
    row, viewer, facts = await sync_to_async(_first_read, thread_sensitive=False)(request, job_id)
    if not isinstance(request, ASGIRequest):
        return HttpResponse("Event streams need ASGI.", status=406, content_type="text/plain")
    seen = request.headers.get("Last-Event-ID", "")
    if facts["finished"] and facts["version"] == seen:
        # The browser has the last word already: 204 tells it not to come back.
        return HttpResponse(status=204)
    events = _events(row, viewer, facts, seen, translation.get_language())
    response = StreamingHttpResponse(events, content_type="text/event-stream")
    add_never_cache_headers(response)
    # Who compresses it holds it back until it ends: GZipMiddleware leaves alone what has an
    # encoding, and proxies what must not be transformed. The last one is for nginx.
    patch_cache_control(response, no_transform=True)
    response.headers["Content-Encoding"] = "identity"
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _events(
    row: Job | Batch,
    viewer: Viewer,
    facts: dict[str, Any] | None,
    seen: str,
    language: str | None,
) -> AsyncIterator[str]:
    started = spoken = clock.monotonic()
    yield "retry: 1000\n\n"
    while facts is not None:
        if facts["version"] != seen:
            seen, spoken = facts["version"], clock.monotonic()
            yield f"id: {seen}\ndata: {json.dumps(facts)}\n\n"
        elif clock.monotonic() - spoken > HEARTBEAT:
            spoken = clock.monotonic()
            yield ": still here\n\n"
        if facts["finished"] or clock.monotonic() - started > LONGEST_STREAM:
            return
        await asyncio.sleep(REREAD_SECONDS)
        # A pool that all streams share: a thread and a connection for each would be too many.
        facts = await sync_to_async(_read_again, thread_sensitive=False)(row, viewer, language)


def _first_read(request: HttpRequest, job_id: UUID) -> tuple[Job | Batch, Viewer, dict[str, Any]]:
    close_old_connections()
    try:
        row, viewer = row_for(request, job_id)
        return row, viewer, serialize_progress(row, viewer)
    finally:
        close_old_connections()


def _read_again(row: Job | Batch, viewer: Viewer, language: str | None) -> dict[str, Any] | None:
    close_old_connections()
    try:
        fresh = read_again(row)
        if fresh is None:
            return None
        with translation.override(language):
            return serialize_progress(fresh, viewer)
    finally:
        close_old_connections()
