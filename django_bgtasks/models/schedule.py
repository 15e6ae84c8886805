"""A schedule: when jobs of a task are enqueued by themselves."""

from __future__ import annotations

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ..core import clock
from ..core.payload import StoredJSON
from .fields import ExactCharField, UnicodeCharField, UTCDateTimeField
from .indexes import PartialIndex
from .loose import LooseForeignKey, LooseGenericForeignKey, set_null


class ScheduleSource(models.TextChoices):
    """Who says what a schedule is."""

    CODE = "code", pgettext_lazy("source of a schedule", "code")
    DYNAMIC = "made", pgettext_lazy("source of a schedule", "made")


class CatchUp(models.TextChoices):
    """Which of the ticks that nobody was there for get a job."""

    LATEST = "latest", _("the latest")
    ALL = "all", _("all of them")
    NONE = "none", _("none of them")


class Overlap(models.TextChoices):
    """What happens at a tick while the job of an earlier one is not final."""

    SKIP = "skip", _("the tick is skipped")
    ALLOW = "allow", _("both run")
    WAIT = "wait", _("it is enqueued when the earlier one is final")


class Schedule(models.Model):
    """Jobs of a task at certain times. Only `django_bgtasks.ledger` moves `next_at`.

    source: a schedule of the code is written by workers that know the code, one that was made by
    set_schedule() or in the admin. overridden: what a person has changed stays, whatever the code
    says. revision: counts edits, so that no tick is computed from what is no longer so.
    anchor: from when the ticks of `every` count. next_at: NULL if none is left.
    skipped: ticks that got no job. error: why the last tick got none, if it should have got one;
    refused_at: when that was.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=clock.new_id, editable=False)
    backend = ExactCharField(_("backend"), max_length=64)
    name = ExactCharField(_("name"), max_length=200)
    source = models.CharField(
        _("source"), max_length=4, choices=ScheduleSource.choices, default=ScheduleSource.DYNAMIC
    )
    overridden = models.BooleanField(_("changed by a person"), default=False)
    task = ExactCharField(_("task"), max_length=255)
    args = models.JSONField(_("arguments"), default=list, blank=True, encoder=StoredJSON)
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True, encoder=StoredJSON)
    types = models.CharField(_("types"), max_length=8, blank=True, default="", editable=False)
    # What using() gave, other than the columns here: queue_name, priority and the like.
    options = models.JSONField(_("options"), default=dict, blank=True, encoder=StoredJSON)
    cron = ExactCharField(_("cron expression"), max_length=255, blank=True, default="")
    every = models.FloatField(_("every (seconds)"), null=True, blank=True)
    zone = ExactCharField(_("time zone"), max_length=64, blank=True, default="")
    catch_up = models.CharField(
        _("catch up"), max_length=6, choices=CatchUp.choices, default=CatchUp.LATEST
    )
    overlap = models.CharField(
        _("overlap"), max_length=5, choices=Overlap.choices, default=Overlap.SKIP
    )
    grace = models.FloatField(_("grace (seconds)"), null=True, blank=True)
    jitter = models.FloatField(_("jitter (seconds)"), default=0.0)
    # The dotted path of a predicate that is asked at each tick.
    when = ExactCharField(_("when"), max_length=255, blank=True, default="")
    anchor = UTCDateTimeField(_("counts from"))
    next_at = UTCDateTimeField(_("next"), null=True, blank=True)
    last_tick = UTCDateTimeField(_("last tick"), null=True, blank=True)
    revision = models.PositiveIntegerField(_("revision"), default=1, editable=False)
    paused_at = UTCDateTimeField(_("paused at"), null=True, blank=True)
    paused_by = UnicodeCharField(_("paused by"), max_length=150, blank=True, default="")
    skipped = models.PositiveBigIntegerField(_("skipped ticks"), default=0)
    error = UnicodeCharField(_("error"), max_length=255, blank=True, default="")
    refused_at = UTCDateTimeField(_("refused at"), null=True, blank=True)
    owner = LooseForeignKey(
        settings.AUTH_USER_MODEL,
        set_null,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
        verbose_name=_("owner"),
    )
    about_type = LooseForeignKey(
        ContentType,
        set_null,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    about_key = ExactCharField(max_length=255, blank=True, default="")
    about = LooseGenericForeignKey("about_type", "about_key")

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        ordering = ("name",)
        permissions = (
            ("pause_schedule", _("Can pause and resume schedules")),
            ("run_schedule", _("Can run schedules now and make up ticks")),
        )
        constraints = (
            models.UniqueConstraint(fields=("backend", "name"), name="bgtasks_schedule_name"),
            models.CheckConstraint(
                name="bgtasks_schedule_cron_xor_every",
                condition=(~Q(cron="") & Q(every__isnull=True)) | Q(cron="", every__isnull=False),
            ),
        )
        indexes = (
            PartialIndex(
                fields=("next_at",),
                name="bgtasks_schedule_next",
                condition=Q(next_at__isnull=False, paused_at__isnull=True),
            ),
            PartialIndex(
                fields=("about_type", "about_key"),
                name="bgtasks_schedule_about",
                condition=Q(about_type__isnull=False),
            ),
            PartialIndex(
                fields=("owner",), name="bgtasks_schedule_owner", condition=Q(owner__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return self.name
