"""The settings of a site whose errors are mailed to its administrators, in the background.

BGTASKS_TEST_SMTP_PORT: where its mail server listens.
BGTASKS_TEST_MAIL_BACKEND: what delivers instead of Django's backend for SMTP.
"""

from __future__ import annotations

import os
import signal
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

import django
from django.core.mail.backends.base import BaseEmailBackend

from tests import settings as base

globals().update({name: getattr(base, name) for name in dir(base) if name.isupper()})
BACKGROUND = "django_bgtasks.mail.BackgroundEmailBackend"
REAL = os.environ.get("BGTASKS_TEST_MAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")
PORT = int(os.environ.get("BGTASKS_TEST_SMTP_PORT", "25"))
DEBUG = False
SERVER_EMAIL = DEFAULT_FROM_EMAIL = "site@example.com"
if django.VERSION >= (6, 0):
    ADMINS: list[Any] = ["admin@example.com"]
else:
    ADMINS = [("Admin", "admin@example.com")]
if django.VERSION >= (6, 1):
    options = {"host": "127.0.0.1", "port": PORT} if "smtp" in REAL else {}
    MAILERS = {
        "default": {"BACKEND": BACKGROUND, "OPTIONS": {"mailer": "real"}},
        "real": {"BACKEND": REAL, "OPTIONS": options},
    }
else:
    EMAIL_BACKEND, BGTASKS_EMAIL_BACKEND = BACKGROUND, REAL
    EMAIL_HOST, EMAIL_PORT = "127.0.0.1", PORT

MAIL_ADMINS = {"class": "django.utils.log.AdminEmailHandler", "level": "DEBUG"}
# LOGGING, by how a record comes to AdminEmailHandler. Django's own is the default.
LOGS: dict[str, Any] = {
    "default": {},
    "root": {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"mail": MAIL_ADMINS},
        "root": {"handlers": ["mail"], "level": "INFO"},
    },
    "root, in another thread": {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "mail": MAIL_ADMINS,
            "queue": {
                "()": "tests.interfaces.mailed_log.queued",
                "handlers": ["cfg://handlers.mail"],
            },
        },
        "root": {"handlers": ["queue"], "level": "INFO"},
    },
    "root, in lots": {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "mail": MAIL_ADMINS,
            "lots": {
                "class": "logging.handlers.MemoryHandler",
                "capacity": 3,
                "target": "mail",
            },
        },
        "root": {"handlers": ["lots"], "level": "INFO"},
    },
}


def queued(handlers: list[Any]) -> QueueHandler:
    """A handler whose records another thread handles, as dictConfig makes it since Python 3.12."""
    from logging.handlers import QueueListener

    handler: Any = QueueHandler(SimpleQueue())
    # dictConfig puts the handler in the place of its name when the list is asked for it.
    found = [handlers[index] for index in range(len(handlers))]
    handler.listener = QueueListener(handler.queue, *found)
    handler.listener.start()
    return handler  # type: ignore[no-any-return]


class Kills(BaseEmailBackend):
    """A backend whose process dies."""

    def send_messages(self, messages: Any) -> int:
        """Die as by the kernel, for want of memory; what tells of it cannot be mailed."""
        if messages[0].to == ["you@x.org"]:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ConnectionRefusedError


class TellsAdmins(BaseEmailBackend):
    """A backend that mails to the administrators that it could not mail, in a thread too."""

    def send_messages(self, messages: Any) -> int:
        """Raise."""
        import logging
        import threading

        from django.core.mail import mail_admins

        mail_admins("Mail", "does not work")
        log = logging.getLogger("django.request")
        thread = threading.Thread(target=log.error, args=("Mail does not work, from a thread.",))
        thread.start()
        thread.join()
        raise ValueError("no")
