"""Receiving a file: straight to disk, hashed while it arrives, moved to its place with its row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.db import IntegrityError, transaction

from .models import Upload

U = TypeVar("U", bound=Upload)
# For so long the same content is the same job, also when that job is done or has failed.
SAME_CONTENT = timedelta(days=1)


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

    def file_complete(self, file_size: int) -> UploadedFile[Any] | None:
        """A file has arrived."""
        file = super().file_complete(file_size)
        if file is not None:
            file.digest = self.hash.hexdigest()  # type: ignore[attr-defined]
        return file


@contextmanager
def row_of_upload(model: type[U], owner: User, file: Any) -> Iterator[U]:
    """The row of this content, in one transaction with the block that enqueues its job.

    It is the row that the content has already, or a new one with the file in its place. When the
    block raises, say because the queue is full, neither the row nor the file stays.
    """
    new = None
    try:
        with transaction.atomic():
            row, created = stored(model, owner, file)
            new = row if created else None
            yield row
    except BaseException:
        if new:
            new.file.delete(save=False)
        raise


def stored(model: type[U], owner: User, file: Any) -> tuple[U, bool]:
    """The row of this content and whether it is new."""
    same = model._default_manager.filter(owner=owner, digest=file.digest)
    if found := same.first():
        return found, False
    row = model(owner=owner, name=file.name[:200], digest=file.digest, size=file.size, file=file)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:  # another upload of the same content was faster
        row.file.delete(save=False)
        return same.get(), False
    return row, True
