"""What a view answers when it has enqueued a job, or could not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import isawaitable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import connections
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from ..core.compat import TaskResult, TaskResultStatus
from ..core.errors import QueueFull
from ..workflows.handle import BatchHandle
from .auth import signature_of

RETRY_AFTER_SECONDS = 1
View = Callable[..., Any]


def accepted(
    request: HttpRequest, result: TaskResult[Any, Any] | BatchHandle, *, signed: bool = False
) -> JsonResponse:
    """202 Accepted for what is enqueued, a job or a workflow: its id, and in Location where its
    state can be read.

    Needs `django_bgtasks.urls` in the site's URLs. That address is for its owner, so enqueue
    with `owner=request.user`; with signed=True it is for whoever has it, for 24 hours.
    """
    url = status_url(result.id, signed=signed)
    status = TaskResultStatus.READY if isinstance(result, BatchHandle) else result.status
    body = {"id": str(result.id), "status": str(status), "status_url": url}
    headers = {"Location": request.build_absolute_uri(url), "Retry-After": str(RETRY_AFTER_SECONDS)}
    return JsonResponse(body, status=202, headers=headers)


def status_url(job_id: object, *, signed: bool = False, view: str = "job-status") -> str:
    """The path at which the state of a job, or of a batch, can be read. job_id: its id.

    signed: whoever has the address may read it, for 24 hours, and nobody can make one.
    """
    url = reverse(f"django_bgtasks:{view}", args=[job_id])
    return f"{url}?signature={signature_of(job_id)}" if signed else url


def refuse_when_full(view: View) -> View:
    """Make a view answer 503 with Retry-After when it enqueues into a full queue.

    It is for functions and methods, plain and `async def`, and for the `dispatch` of a class.
    With ATOMIC_REQUESTS the view's rows are rolled back, as by any exception.
    """

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = view(*args, **kwargs)
        except QueueFull as full:
            return _refusal(full)
        # The `dispatch` of a class of coroutines is a plain function that returns one.
        return _awaited(answer) if isawaitable(answer) else answer

    return markcoroutinefunction(wrapper) if iscoroutinefunction(view) else wrapper


async def _awaited(answer: Awaitable[HttpResponseBase]) -> HttpResponseBase:
    try:
        return await answer
    except QueueFull as full:
        return _refusal(full)


def _refusal(full: QueueFull) -> JsonResponse:
    for connection in connections.all(initialized_only=True):
        # An exception that left the view would have rolled back its request.
        if connection.settings_dict["ATOMIC_REQUESTS"] and connection.in_atomic_block:
            connection.set_rollback(True)
    body = {"error": _("The queue is full. Try again later."), "queue": full.queue}
    return JsonResponse(body, status=503, headers={"Retry-After": str(full.retry_after)})
