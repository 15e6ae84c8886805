"""An HTTP answer as the idempotency log keeps it."""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from typing import Any

from django.http import HttpResponse, HttpResponseBase

logger = logging.getLogger("django_bgtasks.http")

MAX_BODY = 128 * 1024
# They belong to one connection or one visit, not to the answer.
DROPPED = frozenset({"connection", "date", "keep-alive", "set-cookie", "transfer-encoding"})


def stored(response: HttpResponseBase) -> dict[str, Any]:
    """Status, headers and body as JSON.

    A body that is streamed or larger than 128 KiB is left out: its replay is empty.
    """
    if callable(render := getattr(response, "render", None)):
        render()
    body = b"" if response.streaming else getattr(response, "content", b"")
    if response.streaming or len(body) > MAX_BODY:
        logger.warning("The body of an idempotent view's answer is not kept for a replay.")
        body = b""
    headers = {name: value for name, value in response.items() if name.lower() not in DROPPED}
    return {"http": response.status_code, "headers": headers, "body": b64encode(body).decode()}


def replayed(stored: Any) -> HttpResponse:
    """The answer once more, marked with `Idempotency-Replayed: true`."""
    response = HttpResponse(b64decode(stored["body"]), status=stored["http"])
    del response.headers["Content-Type"]
    for name, value in stored["headers"].items():
        response.headers[name] = value
    response.headers["Idempotency-Replayed"] = "true"
    return response
