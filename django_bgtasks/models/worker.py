"""A worker: one `bgworker`, from its start to its end."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core.messages import Reason
from .fields import ExactCharField, UnicodeCharField, UTCDateTimeField


class Worker(models.Model):
    """One row per `bgworker` and process life: its id is never a hostname and never used again."""

    id = models.UUIDField(_("id"), primary_key=True, editable=False)
    hostname = UnicodeCharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process id"))
    processes = models.PositiveSmallIntegerField(_("processes"))
    queues = models.JSONField(_("queues"), default=list)
    # Started without names of queues: then those above are the ones that it knew at its start.
    serves_all = models.BooleanField(_("serves all queues"), default=False)
    backend = ExactCharField(_("backend"), max_length=64)
    started_at = UTCDateTimeField(_("started at"))
    last_seen_at = UTCDateTimeField(_("last seen at"))
    # By its own settings: others' may say something else of their workers.
    dead_after = models.FloatField(_("dead after"), default=10.0, editable=False)
    stopped_at = UTCDateTimeField(_("stopped at"), null=True, blank=True)
    lost_at = UTCDateTimeField(_("lost at"), null=True, blank=True)
    processes_lost = models.PositiveIntegerField(_("processes lost"), default=0)
    # Why its job processes end as soon as they start: see core/messages.py.
    trouble_code = models.CharField(_("trouble"), max_length=32, blank=True, default="")
    trouble_params = models.JSONField(_("trouble"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ("-started_at",)

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"

    @property
    def trouble(self) -> Reason | None:
        """Why its job processes end as soon as they start; None if they do not."""
        return Reason(self.trouble_code, self.trouble_params or {}) if self.trouble_code else None
