"""Receiving a file: straight to disk, hashed while it arrives, moved to its place with its row."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler

from .models import Upload

U = TypeVar("U", bound=Upload)


class HashingUploadHandler(TemporaryFileUploadHandler):
    """Writes every upload to a temporary file and leaves its SHA-256 as `file.digest`."""

    def handle_raw_input(
        self, input_data: Any, META: dict[str, str], content_length: int, *args: Any, **kwargs: Any
    ) -> None:
        """Refuse a request that is too large before its body is read."""
        if content_length > settings.UPLOAD_MAX_BYTES:
            raise RequestDataTooBig(
                f"An upload has at most {settings.UPLOAD_MAX_BYTES} bytes, not {content_length}."
            )

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """A file begins."""
        super().new_file(*args, **kwargs)
        self.hash = hashlib.sha256()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep one chunk."""
        self.hash.update(raw_data)
        super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> UploadedFile | None:
        """A file has arrived."""
        file = super().file_complete(file_size)
        if file is not None:
            file.digest = self.hash.hexdigest()  # type: ignore[attr-defined]
        return file


def keep(model: type[U], owner: User, file: Any) -> U:
    """The row of this content: the one it has already, or a new one with the file in its place.

    Call it in the transaction that enqueues the job. A duplicate's file is dropped.
    """
    found = model._default_manager.filter(owner=owner, digest=file.digest).first()
    if found:
        return found
    return model._default_manager.create(
        owner=owner, name=file.name[:200], digest=file.digest, size=file.size, file=file
    )
