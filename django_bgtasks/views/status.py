"""Views that answer before the work is done, and say where it stands."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .core.compat import TaskResult
from .core.errors import QueueFull
from .core.sensitive import masked, may_see_secrets
from .core.states import STATUS, State
from .ledger.sql import ledger_alias
from .models import Job

RETRY_AFTER = 1


def accepted(request: HttpRequest, result: TaskResult[Any, Any]) -> JsonResponse:
    """202 Accepted for an enqueued job: its id, and in Location where its state can be read.

    Needs `django_bgtasks.urls` in the site's URLs; enqueue with `owner=request.user`.
    """
    url = reverse("django_bgtasks:job-status", args=[result.id])
    body = {"id": result.id, "status": str(result.status), "status_url": url}
    headers = {"Location": request.build_absolute_uri(url), "Retry-After": str(RETRY_AFTER)}
    return JsonResponse(body, status=202, headers=headers)


@never_cache
@require_safe
def job_status(request: HttpRequest, job_id: UUID) -> JsonResponse:
    """Where a job stands, for its owner and for staff who may view jobs; 404 for others."""
    job = Job.objects.using(ledger_alias()).filter(pk=job_id).first()
    if job is None or not _may_see(request, job):
        raise Http404("There is no such job.")
    return JsonResponse(
        {
            "id": str(job.pk),
            "state": job.state,
            "status": str(STATUS[State(job.state)]),
            "progress": job.progress,
            "result": _result(request, job) if job.state == State.SUCCEEDED else None,
            "error": job.error if _is_operator(request) else _for_its_owner(job),
            "finished": job.is_final,
        },
        headers={} if job.is_final else {"Retry-After": str(RETRY_AFTER)},
    )


def refuse_when_full(
    view: Callable[..., HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Make a view answer 503 with Retry-After when it enqueues into a full queue."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except QueueFull as full:
            body = {"error": "The queue is full. Try again later.", "queue": full.queue}
            return JsonResponse(body, status=503, headers={"Retry-After": str(full.retry_after)})

    return wrapper


def _may_see(request: HttpRequest, job: Job) -> bool:
    user: Any = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return False
    if job.owner_id is not None and job.owner_id == user.pk:
        return True
    return _is_operator(request)


def _result(request: HttpRequest, job: Job) -> Any:
    """Its owner gets what the task returned; an operator as much as in the admin."""
    user: Any = request.user
    own = job.owner_id is not None and job.owner_id == user.pk
    return job.result if own or may_see_secrets(user) else masked(job.result)


def _is_operator(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.is_staff and user.has_perm("django_bgtasks.view_job"))


def _for_its_owner(job: Job) -> str:
    """An exception may name paths and addresses; what GiveUp says is meant to be read."""
    name, _colon, message = job.error.partition(": ")
    if job.state != State.FAILED:
        return ""
    if name == "GiveUp" and message:
        return message
    return gettext("It took too long.") if name == "JobTimeout" else gettext("It failed.")
