"""The idempotency log: at most one effect per key, remembered with what it gave."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core.payload import StoredJSON
from .fields import ExactCharField, UTCDateTimeField


class EffectState(models.TextChoices):
    """What is known of an effect."""

    IN_PROGRESS = "in_progress", _("In progress")
    DONE = "done", _("Done")
    UNKNOWN = "unknown", _("Unknown")


class IdempotencyRecord(models.Model):
    """What one idempotency key has done. `scope` keeps the keys of callers apart."""

    scope = ExactCharField(_("scope"), max_length=100, blank=True, default="")
    key = ExactCharField(_("key"), max_length=255)
    state = models.CharField(
        _("state"), max_length=11, choices=EffectState.choices, default=EffectState.IN_PROGRESS
    )
    fingerprint = models.CharField(_("fingerprint"), max_length=64, blank=True, default="")
    response = models.JSONField(_("response"), null=True, blank=True, encoder=StoredJSON)
    job = models.UUIDField(_("job"), null=True, blank=True, db_index=True)
    attempt = models.PositiveSmallIntegerField(_("attempt"), null=True, blank=True)
    token = models.UUIDField(editable=False)
    created_at = UTCDateTimeField(_("created at"))
    completed_at = UTCDateTimeField(_("completed at"), null=True, blank=True)
    expires_at = UTCDateTimeField(_("expires at"), db_index=True)

    class Meta:
        verbose_name = _("idempotency record")
        verbose_name_plural = _("idempotency records")
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("scope", "key"), name="bgtasks_idempotency_once"),
        )

    def __str__(self) -> str:
        return f"{self.scope}:{self.key}" if self.scope else self.key
