"""What a request asks for, as one hash: its method, its address, and the bytes of its body.

The body is hashed before the view runs, and the view can read it all the same: in memory, as a
stream, or as a form, with upload handlers of its own.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import weakref
from contextlib import closing, suppress
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any

from django.conf import settings
from django.http import HttpRequest, RawPostDataException
from django.utils.datastructures import ImmutableList

from .fingerprint import fingerprint_of

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
CSRF_FIELD = "csrfmiddlewaretoken"
CSRF_PART = f'\r\nContent-Disposition: form-data; name="{CSRF_FIELD}"\r\n'.encode()
CHUNK = 64 * 1024
Buffer = bytes | mmap.mmap


def request_fingerprint(request: Any) -> str:
    """Equal for two requests that ask for the same.

    The bytes of the body count. In a form, the boundary between its fields and the CSRF token do
    not: they are different each time.

    request: Django's own, or the one that Django REST framework makes of it.
    """
    base = django_request(request)
    params = {**(base.content_params or {})}
    boundary = params.pop("boundary", "")
    kind = [base.content_type or "", params, base.headers.get("Content-Encoding", "")]
    body = _digest_of_bytes(base, boundary) if _has_bytes(base) else _digest_of_values(request)
    return fingerprint_of(
        method=base.method, path=base.get_full_path(), content_type=kind, body=body
    )


def django_request(request: Any) -> HttpRequest:
    """The request that Django made; Django REST framework wraps it."""
    base: HttpRequest = getattr(request, "_request", request)
    return base


def _has_bytes(base: Any) -> bool:
    return hasattr(base, "_body") or not base._read_started


def _digest_of_bytes(base: Any, boundary: str) -> list[str]:
    if hasattr(base, "_body"):
        return _digests(base.body, base.content_type, boundary)
    stream = getattr(base, "_stream", None)
    if stream is None:
        return _digests(b"", base.content_type, boundary)
    if not stream.seekable():
        stream = base._stream = _spooled(base)
    size = stream.seek(0, 2)
    stream.seek(0)
    try:
        return _digests_of_file(stream, size, base.content_type, boundary)
    finally:
        stream.seek(0)
        base._read_started = False


def _spooled(request: HttpRequest) -> Any:
    """The stream of a request once more, in memory or in a file, as Django has it under ASGI."""
    spool: Any = SpooledTemporaryFile(  # noqa: SIM115 - the view reads it: it is closed at the end
        max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, dir=settings.FILE_UPLOAD_TEMP_DIR
    )
    weakref.finalize(request, spool.close)
    for chunk in iter(partial(request.read, CHUNK), b""):
        spool.write(chunk)
    return spool


def _digests_of_file(file: Any, size: int, content_type: str, boundary: str) -> list[str]:
    """What is too large for memory is looked at in its file."""
    if size > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
        with suppress(OSError), closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as m:
            return _digests(m, content_type, boundary)
    return _digests(file.read(), content_type, boundary)


def _digests(data: Buffer, content_type: str, boundary: str) -> list[str]:
    """One hash of the body, or one for each field of a form."""
    if content_type == MULTIPART and boundary:
        return _multipart(data, boundary)
    if content_type == URLENCODED and isinstance(data, bytes):
        token = f"{CSRF_FIELD}=".encode()
        data = b"&".join(pair for pair in data.split(b"&") if not pair.startswith(token))
    return [hashlib.sha256(data).hexdigest()]


def _multipart(data: Buffer, boundary: str) -> list[str]:
    line = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary.encode()))
    cuts = [(match.start(), match.end()) for match in line.finditer(data)]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(data)]
    with memoryview(data) as view:
        return [
            _digest_of_slice(view, start, end)
            for start, end in zip(starts, ends, strict=True)
            if data[start : start + len(CSRF_PART)] != CSRF_PART
        ]


def _digest_of_slice(view: memoryview, start: int, end: int) -> str:
    with view[start:end] as part:
        return hashlib.sha256(part).hexdigest()


def _digest_of_values(request: Any) -> Any:
    """The fields and files of a body that somebody has parsed by now: its bytes are gone.

    Django's CSRF middleware reads a form with files. Raises RawPostDataException if there is
    nothing by which the body could be told from another one.
    """
    base: Any = django_request(request)
    fields: Any = getattr(base, "_post", None) or {}
    files: Any = getattr(base, "_files", None) or {}
    # The handlers are fixed once a form has been parsed, be it an empty one.
    if fields or files or isinstance(getattr(base, "_upload_handlers", None), ImmutableList):
        return [
            {name: fields.getlist(name) for name in fields if name != CSRF_FIELD},
            {name: list(map(_file, files.getlist(name))) for name in files},
        ]
    with suppress(RawPostDataException, AttributeError):
        # What Django REST framework has parsed.
        return ["data", request.data]
    raise RawPostDataException(
        "@idempotent cannot tell this request from another one: something has read its body "
        "before. Let it read `request.body`, which can be read again, or do so in the view."
    )


def _file(file: Any) -> list[Any]:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return [file.name, file.content_type, digest.hexdigest()]
