"""A queue that somebody has paused: its jobs wait, whoever serves it."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import ExactCharField, UnicodeCharField, UTCDateTimeField


class QueuePause(models.Model):
    """While its row is there, no worker begins a job of this queue. `by`: who paused it."""

    backend = ExactCharField(_("backend"), max_length=64)
    queue = ExactCharField(_("queue"), max_length=100)
    paused_at = UTCDateTimeField(_("paused at"))
    by = UnicodeCharField(_("paused by"), max_length=150, blank=True, default="")

    class Meta:
        verbose_name = _("paused queue")
        verbose_name_plural = _("paused queues")
        default_permissions = ()
        permissions = (("pause_queue", _("Can pause and resume queues")),)
        constraints = (
            models.UniqueConstraint(fields=("backend", "queue"), name="bgtasks_queue_paused_once"),
        )

    def __str__(self) -> str:
        return self.queue
