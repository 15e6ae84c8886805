"""A site whose mail goes through our backend, whatever its Django wants for that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import django
import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.core.mail import EmailMessage
from django.test import override_settings

from django_bgtasks import testing
from django_bgtasks.core.states import State

from .smtp import MailServer

LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
FILES = "django.core.mail.backends.filebased.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"
BACKGROUND = "django_bgtasks.mail.BackgroundEmailBackend"
HAS_MAILERS = django.VERSION >= (6, 1)


@contextlib.contextmanager
def sending_with(backend: str, **options: Any) -> Iterator[None]:
    """Our backend is the site's, and `backend` delivers, set up as this Django wants it."""
    if HAS_MAILERS:
        mailers = {
            "default": {"BACKEND": BACKGROUND, "OPTIONS": {"mailer": "real"}},
            "real": {"BACKEND": backend, "OPTIONS": options},
        }
        with override_settings(MAILERS=mailers):
            yield
    else:
        names = {"host": "EMAIL_HOST", "port": "EMAIL_PORT", "file_path": "EMAIL_FILE_PATH"}
        settings = {names[option]: value for option, value in options.items()}
        with override_settings(EMAIL_BACKEND=BACKGROUND, BGTASKS_EMAIL_BACKEND=backend, **settings):
            yield


def sending_to(server: MailServer) -> AbstractContextManager[None]:
    return sending_with(SMTP, host="127.0.0.1", port=server.port)


def outbox() -> list[Any]:
    return list(mail.outbox)  # type: ignore[attr-defined, unused-ignore]


def send(message: EmailMessage) -> Any:
    """Send it, run the job, return what the real backend was given."""
    assert message.send() == 1
    [job] = testing.run_jobs()
    assert job.state == State.SUCCEEDED, job.error
    return outbox()[-1]


@contextlib.contextmanager
def old_settings(**settings: Any) -> Iterator[None]:
    """A site that has not migrated to MAILERS. That it is told so is not the point here."""
    if not HAS_MAILERS:
        with override_settings(**settings):
            yield
        return
    site: Any = django_settings
    holder = override_settings(**settings)
    with pytest.warns(PendingDeprecationWarning):
        holder.enable()
    del site.MAILERS
    try:
        yield
    finally:
        holder.disable()
