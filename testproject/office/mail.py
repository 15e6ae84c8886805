"""Sending an email from a task, which is in the background already."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.template.loader import render_to_string


def send_now(template: str, context: dict[str, Any], to: str, key: str) -> None:
    """Render office/mail/<template>.txt, whose first line is the subject, and send it now.

    key: the same for every attempt; as the Message-ID it lets the receiving side see a repetition.
    """
    text = render_to_string(f"office/mail/{template}.txt", context)
    subject, _, body = text.partition("\n")
    headers = {"Message-ID": f"<{key}@example.com>"}
    message = EmailMessage(subject, body.lstrip("\n"), None, [to], headers=headers)
    if django.VERSION >= (6, 1):
        message.send(using="direct")
    else:
        get_connection(settings.BGTASKS_EMAIL_BACKEND).send_messages([message])
