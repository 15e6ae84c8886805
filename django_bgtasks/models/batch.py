"""A batch: the jobs of a chain or a group, which end together."""

from __future__ import annotations

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ..core import clock
from .fields import ExactCharField, UTCDateTimeField
from .indexes import PartialIndex, UniqueWhereSet
from .loose import LooseForeignKey, LooseGenericForeignKey, set_null


class BatchKind(models.TextChoices):
    """How the elements of a batch follow each other."""

    CHAIN = "chain", _("chain")
    GROUP = "group", _("group")


class BatchOutcome(models.TextChoices):
    """What a batch came to. It is skipped if what it waited for has not succeeded."""

    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")
    SKIPPED = "skipped", _("Skipped")


class Batch(models.Model):
    """A chain or a group of jobs and further batches. Only `django_bgtasks.ledger` writes it.

    root: the batch of the whole workflow; parent: that of which it is an element; NULL for the
    root. gate: the id of the job or batch before it, until which it waits; NULL if it waits for
    none. opened_at: since when its jobs may run. failed_at: when the first of its jobs failed.
    total: how many jobs it had, written when it finishes.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=clock.new_id, editable=False)
    root = models.UUIDField(_("workflow"), db_index=True)
    parent = models.UUIDField(_("part of"), null=True, blank=True)
    kind = models.CharField(_("kind"), max_length=5, choices=BatchKind.choices)
    name = ExactCharField(_("name"), max_length=200, blank=True, default="")
    gate = models.UUIDField(_("waits for"), null=True, blank=True)
    created_at = UTCDateTimeField(_("created at"))
    opened_at = UTCDateTimeField(_("opened at"), null=True, blank=True)
    failed_at = UTCDateTimeField(_("failed at"), null=True, blank=True)
    cancelled_at = UTCDateTimeField(_("cancelled at"), null=True, blank=True)
    finished_at = UTCDateTimeField(_("finished at"), null=True, blank=True)
    outcome = models.CharField(
        _("outcome"), max_length=9, choices=BatchOutcome.choices, blank=True, default=""
    )
    total = models.PositiveIntegerField(_("jobs"), default=0)
    dedup_key = ExactCharField(_("dedup key"), max_length=255, blank=True, default="")
    dedup_slot = models.CharField(max_length=64, null=True, blank=True, editable=False)
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
    backend = ExactCharField(_("backend"), max_length=64)

    class Meta:
        verbose_name = _("workflow")
        verbose_name_plural = _("workflows")
        ordering = ("-id",)
        default_permissions = ("view",)
        permissions = (
            ("cancel_batch", _("Can cancel batches")),
            ("retry_batch", _("Can retry batches")),
        )
        constraints = (
            UniqueWhereSet(fields=("dedup_slot",), name="bgtasks_batch_dedup_slot"),
            models.CheckConstraint(
                name="bgtasks_batch_finished_iff_out",
                condition=Q(finished_at__isnull=False, outcome__gt="")
                | Q(finished_at__isnull=True, outcome=""),
            ),
        )
        indexes = (
            # With the id: a page of the elements of one that has very many.
            PartialIndex(
                fields=("parent", "id"),
                name="bgtasks_batch_parent",
                condition=Q(parent__isnull=False),
            ),
            # Whole workflows: those that are open, and lists of them.
            PartialIndex(
                fields=("outcome", "id"),
                name="bgtasks_batch_root",
                condition=Q(parent__isnull=True),
            ),
            PartialIndex(
                fields=("gate",), name="bgtasks_batch_gate", condition=Q(gate__isnull=False)
            ),
            PartialIndex(
                fields=("id",), name="bgtasks_batch_open", condition=Q(finished_at__isnull=True)
            ),
            PartialIndex(
                fields=("finished_at",),
                name="bgtasks_batch_finished",
                condition=Q(finished_at__isnull=False),
            ),
            PartialIndex(
                fields=("owner",), name="bgtasks_batch_owner", condition=Q(owner__isnull=False)
            ),
            PartialIndex(
                fields=("about_type", "about_key"),
                name="bgtasks_batch_about",
                condition=Q(about_type__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.name or f"{self.kind} {self.id}"
