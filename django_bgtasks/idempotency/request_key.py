"""The Idempotency-Key of a request, whose it is, and what the request asks for."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from . import fingerprint

# A string of RFC 8941, which the draft asks for, or a bare one, which many clients send.
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21\x23-\x7e]+")
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
CSRF_FIELD = "csrfmiddlewaretoken"


class BadKey(Exception):
    """The header is missing or malformed; the message is for the client."""


def key_of_request(request: HttpRequest, *, required: bool) -> str | None:
    """The key; None without one. BadKey when it is malformed, or missing though required."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        if required:
            raise BadKey(_("This request needs an Idempotency-Key header."))
        return None
    text = text.strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not (quoted or _BARE.fullmatch(text)) or not 1 <= len(key) <= 255:
        text = _('The Idempotency-Key is a string of 1 to 255 characters, such as "8e03978e".')
        raise BadKey(text)
    return key


def scope_of(request: HttpRequest, view: str) -> str:
    """Keeps the keys of users, of sessions and of views apart."""
    user: Any = getattr(request, "user", None)
    session: Any = getattr(request, "session", None)
    if user is not None and user.is_authenticated:
        who = f"user {user.pk}"
    else:
        who = f"session {getattr(session, 'session_key', None) or ''}"
    return f"view:{hashlib.sha256(f'{view} {who}'.encode()).hexdigest()}"


def request_fingerprint(request: HttpRequest) -> str:
    """Equal for two requests that ask for the same.

    Of a form it is the fields and files that count: the boundary between them and the CSRF token
    are different each time.
    """
    # Before the body: what has been parsed from the stream cannot be read from it again.
    body: Any = _form(request) if request.content_type in FORMS else _digest([request.body])
    path = request.get_full_path()
    return fingerprint.fingerprint_of(method=request.method, path=path, body=body)


def _form(request: HttpRequest) -> Any:
    fields = {name: request.POST.getlist(name) for name in request.POST if name != CSRF_FIELD}
    files = {name: list(map(_file, request.FILES.getlist(name))) for name in request.FILES}
    return [fields, files]


def _file(file: Any) -> list[Any]:
    digest = _digest(file.chunks())
    file.seek(0)
    return [file.name, digest]


def _digest(chunks: Any) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
