"""Sending an email from a task, which is in the background already."""

from __future__ import annotations

from typing import Any

import django
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from django_bgtasks.mail.delivery import delivering_backend

# The alias in MAILERS; before Django 6.1 there are none, and BGTASKS_EMAIL_BACKEND says it.
DIRECT = "direct" if django.VERSION >= (6, 1) else None


def send_now(template: str, context: dict[str, Any], to: str, key: str) -> None:
    """Render office/mail/<template>.txt, whose first line is the subject, and send it now.

    key: the same for every attempt; as the Message-ID it lets the receiving side see a repetition.
    """
    text = render_to_string(f"office/mail/{template}.txt", context)
    subject, _, body = text.partition("\n")
    headers = {"Message-ID": f"<{key}@example.com>"}
    message = EmailMessage(subject, body.lstrip("\n"), None, [to], headers=headers)
    delivering_backend(DIRECT).send_messages([message])
