"""Who did what to jobs and queues: what people do, and the commands that they run."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .fields import ExactCharField, UnicodeCharField, UTCDateTimeField
from .indexes import PartialIndex


class HistoryVerb(models.TextChoices):
    """What somebody did, as a person reads it."""

    RETRIED = "retried", pgettext_lazy("who did what", "retried")
    RUN_NOW = "run_now", pgettext_lazy("who did what", "ran now instead of later")
    RUN_ANYWAY = "run_anyway", pgettext_lazy("who did what", "ran without a place at its limit")
    SEQUENCE_RELEASED = (
        "sequence_let_go",
        pgettext_lazy("who did what", "let the sequence go on behind"),
    )
    LIMIT_CHANGED = "limit_changed", pgettext_lazy("who did what", "changed the limit")
    LIMIT_RESET = "limit_reset", pgettext_lazy("who did what", "gave back to the code the limit")
    CANCELLED = "cancelled", pgettext_lazy("who did what", "cancelled")
    ASKED_TO_STOP = "asked_to_stop", pgettext_lazy("who did what", "asked to stop")
    DELETED = "deleted", pgettext_lazy("who did what", "deleted")
    DUPLICATED = "duplicated", pgettext_lazy("who did what", "enqueued as a duplicate")
    PAUSED = "paused", pgettext_lazy("who did what", "paused")
    RESUMED = "resumed", pgettext_lazy("who did what", "resumed")
    FORGOTTEN = "forgotten", pgettext_lazy("who did what", "deleted an idempotency record")
    PRUNED = "pruned", pgettext_lazy("who did what", "deleted old rows")
    SCHEDULE_SET = "schedule_set", pgettext_lazy("who did what", "set the schedule")
    SCHEDULE_PAUSED = "schedule_paused", pgettext_lazy("who did what", "paused the schedule")
    SCHEDULE_RESUMED = "schedule_resumed", pgettext_lazy("who did what", "resumed the schedule")
    SCHEDULE_REMOVED = "schedule_removed", pgettext_lazy("who did what", "removed the schedule")
    SCHEDULE_RUN = "schedule_run", pgettext_lazy("who did what", "ran the schedule now")
    TICKS_MADE_UP = "ticks_made_up", pgettext_lazy("who did what", "made up ticks of the schedule")
    SCHEDULE_RESET = (
        "schedule_reset",
        pgettext_lazy("who did what", "gave back to the code the schedule"),
    )
    BATCH_CANCELLED = "batch_cancelled", pgettext_lazy("who did what", "cancelled the batch")
    BATCH_RETRIED = "batch_retried", pgettext_lazy("who did what", "retried the batch")


class HistoryEntry(models.Model):
    """One thing that somebody did, to a job, a queue, a schedule, or other rows, which `detail`
    names.

    It outlives the job: it has the name of its task, and no foreign key. `by` is the name of a
    user of the site, or of the shell, and `via` tells which: "admin", "site", or the command.
    `source` is another job: the one that did it for the person, or the one that was duplicated.
    `batch` is that of which it tells.
    """

    at = UTCDateTimeField(_("at"))
    verb = models.CharField(_("what"), max_length=16, choices=HistoryVerb.choices)
    by = UnicodeCharField(_("by"), max_length=150)
    via = models.CharField(_("via"), max_length=32)
    job = models.UUIDField(_("job"), null=True, blank=True)
    task = ExactCharField(_("task"), max_length=255, blank=True, default="")
    queue = ExactCharField(_("queue"), max_length=100, blank=True, default="")
    detail = UnicodeCharField(_("detail"), max_length=255, blank=True, default="")
    source = models.UUIDField(_("source"), null=True, blank=True)
    schedule = models.UUIDField(_("schedule"), null=True, blank=True)
    batch = models.UUIDField(_("batch"), null=True, blank=True)

    class Meta:
        verbose_name = _("history entry")
        verbose_name_plural = _("history entries")
        default_permissions = ("view",)
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("at",), name="bgtasks_history_at"),
            PartialIndex(
                fields=("job",), name="bgtasks_history_job", condition=Q(job__isnull=False)
            ),
            PartialIndex(
                fields=("source",), name="bgtasks_history_source", condition=Q(source__isnull=False)
            ),
            PartialIndex(
                fields=("schedule",),
                name="bgtasks_history_schedule",
                condition=Q(schedule__isnull=False),
            ),
            PartialIndex(
                fields=("batch",), name="bgtasks_history_batch", condition=Q(batch__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.by} {self.get_verb_display()} {self.job or self.queue or self.detail}"
