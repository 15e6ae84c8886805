"""`{% load bgtasks %}`: what a site's own pages show of a job or a workflow."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import template
from django.core.handlers.asgi import ASGIRequest

from ..core.progress import percent_of
from ..core.states import State
from ..http import status_url
from ..http.auth import Viewer, read_row, viewer_of
from ..http.serializers import serialize_progress
from ..jobs.results import JobResult
from ..models import Batch, Job
from ..workflows.handle import BatchHandle

register = template.Library()


@register.inclusion_tag("django_bgtasks/progress.html", takes_context=True)
def bgtasks_progress(
    context: template.Context,
    job: Job | JobResult[Any] | Batch | BatchHandle | UUID | str,
    result_url: str = "",
    signed: bool = False,
) -> dict[str, Any]:
    """The progress bar, message, outcome and cancel button of a job or of a workflow, which keep
    themselves up to date.

    job: it, what its enqueue() has returned, or its id; nothing is shown where there is none.
    result_url: where a link leads once it has succeeded.
    signed: follow it by a signed address, for a visitor who is not logged in.
    """
    row = _row_of(job)
    if row is None:
        return {}
    request = context.get("request")
    # Who is shown this page is the site's decision; the addresses in it have their own.
    viewer = viewer_of(row, getattr(request, "user", None)) or Viewer(sees_result=True)
    facts = serialize_progress(row, viewer)
    return {
        "facts": facts,
        "message": _message(facts),
        "share": _share(facts),
        "result_url": result_url,
        "status_url": status_url(row.pk, signed=signed),
        "events_url": _events_url(request, row, signed),
        "cancel_url": status_url(row.pk, view="job-cancel") if viewer.may_cancel else "",
        "here": request.get_full_path() if request is not None else "",
        "csrf_token": context.get("csrf_token"),
    }


def _row_of(job: Any) -> Job | Batch | None:
    if isinstance(job, JobResult):
        return job.job
    if isinstance(job, BatchHandle):
        return Batch.objects.using(job.using).filter(pk=job.id).first()
    if isinstance(job, Job | Batch):
        return job
    try:
        return read_row(job if isinstance(job, UUID) else UUID(str(job)))
    except ValueError:
        return None


def _events_url(request: Any, job: Job | Batch, signed: bool) -> str:
    if not isinstance(request, ASGIRequest):
        return ""
    return status_url(job.pk, signed=signed, view="job-events")


def _share(facts: dict[str, Any]) -> str:
    """How much is done, such as "30 %"; static/django_bgtasks/progress.js says the same."""
    progress = facts["progress"]
    if facts["finished"] or not progress or not progress["total"]:
        return ""
    return f"{percent_of(progress['done'], progress['total'])} %"


def _message(facts: dict[str, Any]) -> str:
    """What there is to read: what it waits for, why it failed, a text that it returned, or how far
    it is.

    A job that runs may have the error of an earlier attempt.
    """
    if facts["waits"]:
        return str(facts["waits"]["text"])
    if facts["error"] and facts["state"] != State.RUNNING:
        return str(facts["error"])
    if isinstance(facts["result"], str):
        return facts["result"]
    return str(facts["progress"]["message"]) if facts["progress"] else ""
