"""Who may see a job, and who may cancel it. For everybody else it does not exist."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.signing import BadSignature, TimestampSigner
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

from ..core.sensitive import may_see_secrets
from ..ledger.identity import ledger_database
from ..models import Job

SIGNED_FOR = timedelta(hours=24)
_signer = TimestampSigner(salt="django_bgtasks.status")


@dataclass(frozen=True, slots=True)
class Viewer:
    """What somebody may see of a job and do to it."""

    is_owner: bool = False
    is_operator: bool = False
    sees_result: bool = False
    may_cancel: bool = False


def signature_of(job_id: object) -> str:
    """What proves that the site gave away the address of this job, and when."""
    return _signer.sign(str(job_id)).partition(":")[2]


def read(job_id: UUID) -> Job | None:
    """The row as it is now."""
    return Job.objects.using(ledger_database()).filter(pk=job_id).first()


def job_for(request: HttpRequest, job_id: UUID) -> tuple[Job, Viewer]:
    """The job and what this request may see of it; Http404 when that is nothing."""
    job = read(job_id)
    viewer = viewer_of(job, getattr(request, "user", None)) if job else None
    if job is not None and viewer is None and _is_signed(request, job_id):
        viewer = Viewer(sees_result=True)
    if job is None or viewer is None:
        raise Http404(_("There is no such job."))
    return job, viewer


def viewer_of(job: Job, user: Any) -> Viewer | None:
    """What a user may see of a job; None for nothing."""
    if user is None or not user.is_authenticated:
        return None
    owns = job.owner_id is not None and job.owner_id == user.pk
    operates = bool(user.is_staff and user.has_perm("django_bgtasks.view_job"))
    if not owns and not operates:
        return None
    return Viewer(
        is_owner=owns,
        is_operator=operates,
        sees_result=owns or may_see_secrets(user),
        may_cancel=owns or user.has_perm("django_bgtasks.cancel_job"),
    )


def _is_signed(request: HttpRequest, job_id: UUID) -> bool:
    signature = request.GET.get("signature", "")
    try:
        _signer.unsign(f"{job_id}:{signature}", max_age=SIGNED_FOR)
    except BadSignature:
        return False
    return True
