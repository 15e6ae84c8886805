"""The email backend that enqueues: a message becomes a job, in the caller's transaction."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from email.utils import format_datetime, make_msgid
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.message import EmailMessage
from django.core.mail.utils import DNS_NAME
from django.db import DatabaseError
from django.utils import timezone

from ..core import clock
from ..core.errors import BgTasksError, Interruption
from ..ledger.connection import in_transaction
from ..ledger.lifecycle import ledger_database
from .delivery import deliver_email
from .direct import deliver_directly, enqueueing, goes_directly
from .serializer import SerializedMessage, deserialize, serialize
from .storage import arguments_for, save_blob

logger = logging.getLogger("django_bgtasks")


class BackgroundEmailBackend(BaseEmailBackend):
    """Enqueues each message as a job that delivers it with another backend.

    With EMAIL_BACKEND, the setting BGTASKS_EMAIL_BACKEND names the backend that delivers (default:
    Django's SMTP backend) and BGTASKS_EMAIL_QUEUE the queue (default: "default").
    With MAILERS (Django 6.1 and later), OPTIONS takes `mailer`, the name of the mailer that
    delivers, and `queue`.

    A message is enqueued if and only if the transaction it was sent in commits. What is sent about
    a mail job, such as its log, is no job: see direct.py.
    """

    # So that the task which delivers knows it, and does not enqueue again.
    enqueues = True

    def __init__(
        self,
        fail_silently: bool = False,
        *,
        mailer: str | None = None,
        queue: str | None = None,
        username: str | None = None,
        password: str | None = None,
        alias: str | None = None,
        **kwargs: Any,
    ) -> None:
        # Django gives the name of this entry in MAILERS.
        super().__init__(alias=alias, **kwargs)
        _check_mailer(alias, mailer)
        if username or password:
            raise ImproperlyConfigured(
                "BackgroundEmailBackend takes no username and no password (auth_user and "
                "auth_password of send_mail): a job does not keep credentials. Give them to the "
                "backend that delivers."
            )
        self.fail_silently = fail_silently
        self.mailer = mailer
        self.queue = queue

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Enqueue the messages, all of them or none; how many there were.

        Raises ValueError for a header or an address with a newline, as any Django backend does.
        With fail_silently, what goes wrong after that is logged and 0 returned.
        """
        addressed = [message for message in email_messages if message.recipients()]
        if goes_directly():
            return deliver_directly(addressed, self.mailer)
        with enqueueing():
            messages = [_serialized(message) for message in addressed]
            try:
                return self._enqueue(messages)
            except (BgTasksError, DatabaseError) as error:
                # An interruption is meant for the task that sends.
                if not self.fail_silently or isinstance(error, Interruption):
                    raise
                logger.exception("%d emails could not be enqueued.", len(messages))
                return 0

    def _enqueue(self, messages: list[SerializedMessage]) -> int:
        if not messages:
            return 0
        queue = self.queue or getattr(settings, "BGTASKS_EMAIL_QUEUE", None)
        using = ledger_database()

        def enqueue() -> int:
            stored = [arguments_for(message) for message in messages]
            extra = {"mailer": self.mailer} if self.mailer else {}
            calls = [{**call, **extra} for call, _ in stored]
            results = deliver_email.using(queue_name=queue).enqueue_many(calls)
            for result, (_, blob) in zip(results, stored, strict=True):
                if blob is not None:
                    save_blob(blob, result.job.pk, using)
            return len(calls)

        # A large message is a row of its own: it must commit, or not, together with its job.
        return in_transaction(enqueue, using)


def _serialized(message: EmailMessage) -> SerializedMessage:
    for address in [message.from_email, *message.recipients()]:
        if "\n" in str(address) or "\r" in str(address):
            raise ValueError(f"An email address can't contain newlines: {str(address)!r}.")
    serialized = serialize(_with_identity(message))
    # Built once from what is stored: a message that cannot be built fails its sender, not its job.
    deserialize(serialized).message()
    return serialized


def _with_identity(message: EmailMessage) -> EmailMessage:
    """A copy with a Message-ID and a Date of its own or ours, by which a repeated delivery is
    recognised.
    """
    headers: dict[str, Any] = dict(message.extra_headers)
    names = {name.lower() for name in headers}
    if "message-id" not in names:
        headers["Message-ID"] = make_msgid(domain=str(DNS_NAME))
    if "date" not in names:
        now = clock.now()
        headers["Date"] = format_datetime(
            timezone.localtime(now) if settings.EMAIL_USE_LOCALTIME else now
        )
    identified = copy.copy(message)
    identified.extra_headers = headers
    return identified


def _check_mailer(alias: str | None, mailer: str | None) -> None:
    if alias is None:
        return
    if mailer is None or mailer == alias or mailer not in getattr(settings, "MAILERS", {}):
        raise ImproperlyConfigured(
            f"MAILERS[{alias!r}]: OPTIONS must name another mailer of MAILERS, the one that "
            f'delivers, such as {{"mailer": "smtp"}}; it is {mailer!r}.'
        )
