"""Where a serialized message waits: in the job's arguments, or in a Blob when it is large."""

from __future__ import annotations

import json
import zlib
from typing import Any
from uuid import UUID

from ..core.errors import GiveUp, InvalidArguments
from ..core.messages import MAIL_GONE
from ..core.payload import json_value
from ..ledger.times import Now
from ..models import Blob
from .serializer import SerializedMessage

MAX_INLINE = 200 * 1024


def arguments_for(message: SerializedMessage) -> tuple[dict[str, Any], Blob | None]:
    """The arguments of the job that delivers the message, and a blob that is to be saved for it."""
    # ASCII only: the text may hold what a JSON column refuses, such as a lone surrogate.
    data = json.dumps(message).encode("ascii")
    if len(data) <= MAX_INLINE and _fits_arguments(message):
        return {"message": message}, None
    blob = Blob(data=zlib.compress(data))
    return {"blob": str(blob.pk)}, blob


def save_blob(blob: Blob, job: UUID, using: str) -> None:
    """Store a blob for a job. Call it in the transaction that enqueues the job."""
    blob.job, blob.created_at = job, Now()
    blob.save(using=using, force_insert=True)


def load(message: SerializedMessage | None, blob: str | None, using: str) -> SerializedMessage:
    """The stored message. Raises GiveUp when it is gone: no further attempt would find it."""
    if message is not None:
        return message
    stored = Blob.objects.using(using).filter(pk=blob).first() if blob else None
    if stored is None:
        raise GiveUp(MAIL_GONE % {"blob": blob})
    found: SerializedMessage = json.loads(zlib.decompress(bytes(stored.data)))
    return found


def delete_blob(blob: str | None, using: str) -> None:
    """Delete a stored message that has been delivered."""
    if blob is not None:
        Blob.objects.using(using).filter(pk=blob).delete()


def _fits_arguments(message: SerializedMessage) -> bool:
    try:
        json_value(message, "message", "deliver_email")
    except InvalidArguments:
        return False
    return True
