"""The task that delivers a message with the site's real email backend."""

from __future__ import annotations

import smtplib
import warnings
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from ..core.errors import GiveUp
from ..core.retry import Retry
from ..jobs.task import task
from ..ledger.lifecycle import ledger_database
from .serializer import SerializedMessage, deserialize
from .storage import delete_blob, load

SMTP = "django.core.mail.backends.smtp.EmailBackend"
# smtplib's errors are OSErrors, and so are those of most clients of an HTTP API.
MESSAGE_IS_WRONG = (400, 413, 422)
DELIVERY_RETRY = Retry(backoff="exponential", base=30, cap=3600, max_attempts=8, on=(OSError,))


# The links of a password reset are in a message.
@task(retry=DELIVERY_RETRY, sensitive=("message",))
def deliver_email(
    message: SerializedMessage | None = None, blob: str | None = None, mailer: str | None = None
) -> int:
    """Deliver one message; how many were sent (0 or 1).

    message, blob: the stored message, or the id of the Blob that holds it.
    mailer: the name in MAILERS of the one that delivers; without one, BGTASKS_EMAIL_BACKEND does.

    Network and temporary SMTP errors are retried; a refusal for good (5xx) gives up at once.
    """
    using = ledger_database()
    email = deserialize(load(message, blob, using))
    try:
        sent = delivering_backend(mailer).send_messages([email])
    except Exception as error:
        if is_permanent(error):
            raise GiveUp.of("mail_refused", error=error) from error
        raise
    delete_blob(blob, using)
    return sent or 0


def delivering_backend(mailer: str | None) -> BaseEmailBackend:
    """A new instance of the backend that really sends. ImproperlyConfigured if it enqueues."""
    if mailer is None:
        backend = _from_settings()
    else:
        from django.core import mail

        mailers: Any = mail.mailers  # type: ignore[attr-defined, unused-ignore]
        backend = mailers[mailer]
    if getattr(backend, "enqueues", False):
        where = f"MAILERS[{mailer!r}]" if mailer else "The setting BGTASKS_EMAIL_BACKEND"
        raise ImproperlyConfigured(
            f"{where} must name a backend that delivers, not BackgroundEmailBackend: the message "
            f"would be enqueued for ever."
        )
    return backend


def is_permanent(error: Exception) -> bool:
    """Whether the server refused the sender, every recipient or the content for good (SMTP's 5xx).

    Of a provider with an HTTP API, as Anymail tells it, what says that the message is wrong.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(500 <= code < 600 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError):
        return 500 <= error.smtp_code < 600
    return getattr(error, "status_code", None) in MESSAGE_IS_WRONG


def _from_settings() -> BaseEmailBackend:
    backend_class = import_string(getattr(settings, "BGTASKS_EMAIL_BACKEND", SMTP))
    with warnings.catch_warnings():
        # Django tells a site at its start that the EMAIL_* settings are deprecated. They are read
        # here for that site: to say it again with every message would help nobody.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        backend: BaseEmailBackend = backend_class()
    return backend
