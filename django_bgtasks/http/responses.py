"""What a view answers when it has enqueued a job, or could not."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from ..core.compat import TaskResult
from ..core.errors import QueueFull
from .auth import signature_of

RETRY_AFTER_SECONDS = 1
View = Callable[..., HttpResponseBase]


def accepted(
    request: HttpRequest, result: TaskResult[Any, Any], *, signed: bool = False
) -> JsonResponse:
    """202 Accepted for an enqueued job: its id, and in Location where its state can be read.

    Needs `django_bgtasks.urls` in the site's URLs. That address is for the job's owner, so enqueue
    with `owner=request.user`; with signed=True it is for whoever has it, for 24 hours.
    """
    url = status_url(result.id, signed=signed)
    body = {"id": result.id, "status": str(result.status), "status_url": url}
    headers = {"Location": request.build_absolute_uri(url), "Retry-After": str(RETRY_AFTER_SECONDS)}
    return JsonResponse(body, status=202, headers=headers)


def status_url(job_id: object, *, signed: bool = False, view: str = "job-status") -> str:
    """The path at which the state of a job can be read.

    signed: whoever has the address may read it, for 24 hours, and nobody can make one.
    """
    url = reverse(f"django_bgtasks:{view}", args=[job_id])
    return f"{url}?signature={signature_of(job_id)}" if signed else url


def refuse_when_full(view: View) -> View:
    """Make a view answer 503 with Retry-After when it enqueues into a full queue."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except QueueFull as full:
            body = {"error": _("The queue is full. Try again later."), "queue": full.queue}
            return JsonResponse(body, status=503, headers={"Retry-After": str(full.retry_after)})

    return wrapper
