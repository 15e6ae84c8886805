"""How many jobs of a key may run at once, where a person has changed what the code says."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import ExactCharField, UnicodeCharField, UTCDateTimeField


class LimitOverride(models.Model):
    """While its row is there, it counts and not what the jobs were enqueued with.

    key: of a limit; or, if is_prefix, what stands before the first colon of the keys for which no
    other row speaks. by: who said so.
    """

    key = ExactCharField(_("key"), max_length=255)
    is_prefix = models.BooleanField(_("for all keys with this prefix"), default=False)
    at_once = models.PositiveSmallIntegerField(_("at once"))
    by = UnicodeCharField(_("changed by"), max_length=150, blank=True, default="")
    changed_at = UTCDateTimeField(_("changed at"))

    class Meta:
        verbose_name = _("limit")
        verbose_name_plural = _("limits")
        default_permissions = ()
        permissions = (("change_limit", _("Can change limits")),)
        constraints = (
            models.UniqueConstraint(fields=("key", "is_prefix"), name="bgtasks_limit_changed_once"),
        )

    def __str__(self) -> str:
        return self.key
