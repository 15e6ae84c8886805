"""System checks of the mail settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from ..core.options import backend_settings, default_backend


@register("bgtasks")
def check_mail(**kwargs: Any) -> list[CheckMessage]:
    """The settings BGTASKS_EMAIL_BACKEND and BGTASKS_EMAIL_QUEUE."""
    return [*_delivery(), *_queue()]


def _delivery() -> list[CheckMessage]:
    if not str(getattr(settings, "BGTASKS_EMAIL_BACKEND", "")).startswith("django_bgtasks.mail."):
        return []
    return [
        Error(
            "BGTASKS_EMAIL_BACKEND names the backend that enqueues: no email would ever go out.",
            hint='EMAIL_BACKEND = "django_bgtasks.mail.BackgroundEmailBackend" enqueues; set '
            "BGTASKS_EMAIL_BACKEND to the one that delivers, such as "
            '"django.core.mail.backends.smtp.EmailBackend".',
            id="bgtasks.E006",
        )
    ]


def _queue() -> list[CheckMessage]:
    queue = getattr(settings, "BGTASKS_EMAIL_QUEUE", None)
    try:
        queues = backend_settings(default_backend()).queues
    except ImproperlyConfigured:
        # The check of the backends says it.
        return []
    if queue is None or not queues or queue in queues:
        return []
    return [
        Error(
            f"BGTASKS_EMAIL_QUEUE names the queue {queue!r}, which is not configured.",
            hint=f"Add it to QUEUES in TASKS[{default_backend()!r}], which has: "
            f"{', '.join(sorted(queues))}.",
            id="bgtasks.E007",
        )
    ]
