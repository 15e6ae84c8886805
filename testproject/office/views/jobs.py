"""A member's jobs: where each stands, what it made, and trying again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.contenttypes.models import ContentType
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from django_bgtasks import DuplicateJob, InvalidMove, refuse_when_full, retry_job
from django_bgtasks.models import Job

from ..answers import member


def visible(request: HttpRequest) -> QuerySet[Job]:
    """The jobs that this user may see: their own, and all of them with the permission."""
    user = member(request)
    if user.is_staff and user.has_perm("django_bgtasks.view_job"):
        return Job.objects.all()
    return Job.objects.filter(owner=user)


def latest_job(row: Model) -> Job | None:
    """The last job about this row."""
    kind = ContentType.objects.get_for_model(row)
    return Job.objects.filter(about_type=kind, about_key=str(row.pk)).first()


def failed_job(row: Model) -> Job | None:
    """The first job about this row that has failed."""
    kind = ContentType.objects.get_for_model(row)
    return Job.objects.filter(about_type=kind, about_key=str(row.pk), state="failed").last()


def latest_jobs(rows: Sequence[Model]) -> dict[Any, Job]:
    """The last job about each of these rows of one model, by their keys; in one statement."""
    if not rows:
        return {}
    kind = ContentType.objects.get_for_model(rows[0])
    keys = {str(row.pk): row.pk for row in rows}
    jobs = Job.objects.filter(about_type=kind, about_key__in=keys).order_by("pk")
    return {keys[job.about_key]: job for job in jobs}


@login_required
def jobs(request: HttpRequest) -> HttpResponse:
    """List the member's own jobs."""
    rows = Job.objects.filter(owner=member(request))
    page = Paginator(rows, 25).get_page(request.GET.get("page"))
    return render(request, "office/jobs.html", {"page": page})


@login_required
def job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """One job, kept up to date by the site's script."""
    found = get_object_or_404(visible(request), pk=job_id)
    attempts = found.attempts.order_by("attempt")
    return render(request, "office/job.html", {"job": found, "attempts": attempts})


@login_required
@require_POST
@refuse_when_full
def retry(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Run a failed job of one's own once more."""
    found = get_object_or_404(Job, pk=job_id, owner=member(request))
    try:
        retry_job(found.pk, by=member(request).get_username())
    except (InvalidMove, DuplicateJob) as error:
        messages.warning(request, str(error))
    return redirect("office:job", job_id=job_id)
