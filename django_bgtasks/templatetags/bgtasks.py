"""`{% load bgtasks %}`: what a site's own pages show of a job."""

from __future__ import annotations

from typing import Any

from django import template
from django.core.handlers.asgi import ASGIRequest

from ..core.progress import percent_of
from ..core.states import State
from ..http import status_url
from ..http.auth import Viewer, viewer_of
from ..http.serializers import serialize_job
from ..jobs.results import JobResult
from ..models import Job

register = template.Library()


@register.inclusion_tag("django_bgtasks/progress.html", takes_context=True)
def bgtasks_progress(
    context: template.Context,
    job: Job | JobResult[Any],
    result_url: str = "",
    signed: bool = False,
) -> dict[str, Any]:
    """A job's progress bar, message, outcome and cancel button, which keep themselves up to date.

    result_url: where a link leads once the job has succeeded.
    signed: follow the job by a signed address, for a visitor who is not logged in.
    """
    row = job.job if isinstance(job, JobResult) else job
    request = context.get("request")
    # Who is shown this page is the site's decision; the addresses in it have their own.
    viewer = viewer_of(row, getattr(request, "user", None)) or Viewer(sees_result=True)
    facts = serialize_job(row, viewer)
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


def _events_url(request: Any, job: Job, signed: bool) -> str:
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
