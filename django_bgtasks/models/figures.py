"""What has become of jobs, added up by the time they ended: what charts are drawn from."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import ExactCharField
from .job import Job


class RollUp(models.Model):
    """The jobs of one task in one queue that ended within `span` minutes from `minute` on.

    minute: since 1970, in UTC. waits, runs: how many jobs took up to each of
    `monitoring.histogram.BOUNDS` seconds, and longer. Those of span 0 are totals: see
    monitoring/totals.py.
    """

    backend = ExactCharField(_("backend"), max_length=64)
    span = models.PositiveSmallIntegerField(_("minutes"))
    minute = models.PositiveIntegerField(_("first minute"))
    queue = ExactCharField(_("queue"), max_length=100)
    task = ExactCharField(_("task"), max_length=255)
    jobs = models.PositiveIntegerField(_("jobs"))
    succeeded = models.PositiveIntegerField(_("succeeded"))
    failed = models.PositiveIntegerField(_("failed"))
    cancelled = models.PositiveIntegerField(_("cancelled"))
    wait_seconds = models.FloatField(_("seconds waited"))
    run_seconds = models.FloatField(_("seconds run"))
    waits = models.JSONField(_("waits"))
    runs = models.JSONField(_("runs"))

    class Meta:
        verbose_name = _("roll-up")
        verbose_name_plural = _("roll-ups")
        default_permissions = ()
        constraints = (
            # The task's hash would do, but a figure must say whose it is.
            models.UniqueConstraint(
                fields=("span", "minute", "backend", "queue", "task"), name="bgtasks_rollup_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.task} {self.queue} {self.minute}+{self.span}"


class Dashboard(Job):
    """What the admin lists as the dashboard; it has permissions and no table of its own."""

    class Meta:
        proxy = True
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
        default_permissions = ("view",)
