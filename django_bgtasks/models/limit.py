"""What limits and rates need besides the rows of their jobs."""

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


class Seat(models.Model):
    """One of the starts that a rate allows in a period: nobody starts with it before `free_at`.

    A rate of N has the seats 1 to N; one that has no row was never used.
    """

    rate = ExactCharField(max_length=255)
    number = models.PositiveSmallIntegerField()
    free_at = UTCDateTimeField()

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("rate", "number"), name="bgtasks_seat_once"),
        )

    def __str__(self) -> str:
        return f"{self.rate} {self.number}"
