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
# They tell of a body, which a replay without one has not.
OF_THE_BODY = frozenset({"accept-ranges", "content-encoding", "content-length", "etag"})


def rendered(response: Any) -> HttpResponseBase:
    """The answer with its content, which a TemplateResponse has yet to make.

    Only the answer of a method of Django REST framework stays as it is: the framework still has to
    say how it is rendered. Raises TypeError for what is no answer.
    """
    if not isinstance(response, HttpResponseBase):
        raise TypeError(
            f"@idempotent: the view returned a {type(response).__qualname__}, and not an "
            f"HttpResponse: its answer cannot be stored. Put the decorator where there is one."
        )
    if _waits_for_renderer(response) or not callable(render := getattr(response, "render", None)):
        return response
    final: HttpResponseBase = render()
    return final


def stored(response: HttpResponseBase, request: Any) -> dict[str, Any]:
    """Status, headers and body as JSON.

    A body that is streamed or larger than 128 KiB is left out: its replay is empty.
    """
    if _waits_for_renderer(response):
        body = _as_framework_renders(response, request)
    else:
        body = b"" if response.streaming else getattr(response, "content", b"")
    dropped = DROPPED
    if response.streaming or len(body) > MAX_BODY:
        logger.warning("The body of an idempotent view's answer is not kept for a replay.")
        body, dropped = b"", DROPPED | OF_THE_BODY
    headers = {name: value for name, value in response.items() if name.lower() not in dropped}
    return {"http": response.status_code, "headers": headers, "body": b64encode(body).decode()}


def replayed(stored: Any) -> HttpResponse:
    """The answer once more, marked with `Idempotency-Replayed: true`."""
    response = HttpResponse(b64decode(stored["body"]), status=stored["http"])
    del response.headers["Content-Type"]
    for name, value in stored["headers"].items():
        response.headers[name] = value
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _waits_for_renderer(response: Any) -> bool:
    """Whether this is an answer of Django REST framework that is not finalized."""
    is_rendered = getattr(response, "is_rendered", True)
    return not is_rendered and hasattr(response, "data") and not _has_renderer(response)


def _has_renderer(response: Any) -> bool:
    return getattr(response, "accepted_renderer", None) is not None


def _as_framework_renders(response: Any, request: Any) -> bytes:
    """The content, rendered as the framework will: it has chosen by now how to, for this request.

    The answer itself is left as it is, for the framework to finalize.
    """
    view = request.parser_context["view"]
    response.accepted_renderer = request.accepted_renderer
    response.accepted_media_type = request.accepted_media_type
    response.renderer_context = view.get_renderer_context()
    content: bytes = response.make_bytes(response.rendered_content)
    return content
