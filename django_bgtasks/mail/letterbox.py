"""Where a packed message waits: in the job's arguments, or in a Blob when it is large."""

from __future__ import annotations

import json
import zlib
from typing import Any

from ..core.errors import GiveUp, InvalidArguments
from ..core.payload import checked
from ..core.reasons import MAIL_GONE
from ..ledger.times import Now
from ..models import Blob
from .envelope import Envelope

MAX_INLINE = 200 * 1024


def post(envelope: Envelope, alias: str) -> dict[str, Any]:
    """Store the message; the arguments of the job that delivers it.

    Call it in the transaction that enqueues the job.
    """
    # ASCII only: the text may hold what a JSON column refuses, such as a lone surrogate.
    data = json.dumps(envelope).encode("ascii")
    if len(data) <= MAX_INLINE and _fits_arguments(envelope):
        return {"message": envelope}
    blob = Blob.objects.using(alias).create(data=zlib.compress(data), created_at=Now())
    return {"blob": str(blob.pk)}


def fetch(message: Envelope | None, blob: str | None, alias: str) -> Envelope:
    """The stored message. Raises GiveUp when it is gone: no further attempt would find it."""
    if message is not None:
        return message
    stored = Blob.objects.using(alias).filter(pk=blob).first() if blob else None
    if stored is None:
        raise GiveUp(MAIL_GONE % {"blob": blob})
    found: Envelope = json.loads(zlib.decompress(bytes(stored.data)))
    return found


def discard(blob: str | None, alias: str) -> None:
    """Forget a stored message that has been delivered."""
    if blob is not None:
        Blob.objects.using(alias).filter(pk=blob).delete()


def _fits_arguments(envelope: Envelope) -> bool:
    try:
        checked(envelope, "message", "deliver_email")
    except InvalidArguments:
        return False
    return True
