"""What makes a repeated delivery recognisable: a Message-ID and a Date that stay the same."""

from __future__ import annotations

import copy
from email.utils import format_datetime, make_msgid
from typing import Any

from django.conf import settings
from django.core.mail.message import EmailMessage
from django.core.mail.utils import DNS_NAME
from django.utils import timezone

from ..core import clock


def with_identity(message: EmailMessage) -> EmailMessage:
    """A copy of the message whose headers have a Message-ID and a Date; given ones are kept."""
    headers: dict[str, Any] = dict(message.extra_headers)
    given = {name.lower() for name in headers}
    if "message-id" not in given:
        headers["Message-ID"] = make_msgid(domain=str(DNS_NAME))
    if "date" not in given:
        headers["Date"] = _date()
    identified = copy.copy(message)
    identified.extra_headers = headers
    return identified


def _date() -> str:
    if settings.EMAIL_USE_LOCALTIME:
        return format_datetime(timezone.localtime(clock.now()))
    return format_datetime(clock.now())
