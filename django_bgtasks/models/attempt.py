"""An attempt that did not succeed: what went wrong, where and when."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import UnicodeCharField, UnicodeTextField, UTCDateTimeField
from .job import Job


class AttemptOutcome(models.TextChoices):
    """How an attempt ended that did not succeed."""

    FAILED = "failed", _("Raised an exception")
    TIMEOUT = "timeout", _("Timed out")
    CRASH = "crash", _("Crashed")
    CANCELLED = "cancelled", _("Cancelled")


class Attempt(models.Model):
    """One try of a job that did not succeed. A success lives in the job's own row."""

    job = models.ForeignKey(
        Job, models.CASCADE, related_name="attempts", db_index=False, verbose_name=_("job")
    )
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    outcome = models.CharField(_("outcome"), max_length=10, choices=AttemptOutcome.choices)
    worker = models.UUIDField(_("worker"), null=True, blank=True)
    started_at = UTCDateTimeField(_("started at"), null=True, blank=True)
    finished_at = UTCDateTimeField(_("finished at"))
    exception_class = UnicodeCharField(_("exception"), max_length=255, blank=True, default="")
    message = UnicodeCharField(_("message"), max_length=255, blank=True, default="")
    # What the message is, for programs: see core/messages.py.
    code = models.CharField(_("error code"), max_length=32, blank=True, default="")
    params = models.JSONField(_("error parameters"), null=True, blank=True, editable=False)
    traceback = UnicodeTextField(_("traceback"), blank=True, default="")

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ("job_id", "attempt")
        constraints = (
            models.UniqueConstraint(fields=("job", "attempt"), name="bgtasks_attempt_once"),
        )
        indexes = (models.Index(fields=("finished_at",), name="bgtasks_attempt_finished"),)

    def __str__(self) -> str:
        return f"{self.job_id} #{self.attempt} {self.outcome}"


class AttemptLog(models.Model):
    """What one attempt of a job has logged. Only of tasks with log=True, and if there is a line."""

    job = models.ForeignKey(
        Job, models.CASCADE, related_name="logs", db_index=False, verbose_name=_("job")
    )
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    # Of each line its time, level, logger and text.
    lines = models.JSONField(_("lines"), default=list)
    left_out = models.PositiveIntegerField(_("left out"), default=0)

    class Meta:
        verbose_name = _("log of an attempt")
        verbose_name_plural = _("logs of attempts")
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("job", "attempt"), name="bgtasks_attempt_log_once"),
        )

    def __str__(self) -> str:
        return f"{self.job_id} #{self.attempt}"
