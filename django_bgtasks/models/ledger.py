"""Who a ledger is: its one row."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import UTCDateTimeField


class Ledger(models.Model):
    """The id of this ledger, which all its names in Redis carry.

    origins: the database servers and schemas in which it was met; in another one it is a copy.
    copied_from: the id that it had there, before it got its own.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    uuid = models.UUIDField(_("id"))
    origins = models.JSONField(_("origins"), default=list)
    copied_from = models.UUIDField(_("copied from"), null=True, blank=True)
    named_at = UTCDateTimeField(_("named at"))

    class Meta:
        verbose_name = _("ledger")
        verbose_name_plural = _("ledgers")
        default_permissions = ()
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="bgtasks_ledger_is_one"),
        )

    def __str__(self) -> str:
        return str(self.uuid)
