"""Data of a job that is too large for its arguments, such as the attachments of an email."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..core import clock
from .fields import UTCDateTimeField


class Blob(models.Model):
    """Bytes that commit with the job that needs them, which deletes them when it is done.

    They stay as long as the row of `job` does, whatever state it is in: it may be retried.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=clock.new_id, editable=False)
    job = models.UUIDField(_("job"), editable=False)
    data = models.BinaryField(_("data"))
    created_at = UTCDateTimeField(_("created at"))

    class Meta:
        verbose_name = _("blob")
        verbose_name_plural = _("blobs")

    def __str__(self) -> str:
        return str(self.id)
