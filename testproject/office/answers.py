"""How a view answers when it has enqueued a job: at once, in the way its client understands."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers

from django_bgtasks import JobResult, accepted


def member(request: HttpRequest) -> User:
    """The user of a view that asks for a login."""
    assert isinstance(request.user, User)
    return request.user


def wants_json(request: HttpRequest) -> bool:
    """Whether the client would rather read JSON than a page."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def answer(request: HttpRequest, result: JobResult[Any]) -> HttpResponse:
    """202 with the job's address for a script, 303 to the job's page for a browser."""
    response: HttpResponse
    if wants_json(request):
        response = accepted(request, result)
    else:
        response = redirect("office:job", job_id=result.id)
        response.status_code = 303
    patch_vary_headers(response, ["Accept"])
    return response


def refuse(request: HttpRequest, template: str, form: BaseForm, **more: object) -> HttpResponse:
    """422 with what is wrong: the form again for a browser, the errors for a script."""
    response: HttpResponse
    if wants_json(request):
        response = JsonResponse({"errors": form.errors}, status=422)
    else:
        response = render(request, template, {"form": form, **more}, status=422)
    patch_vary_headers(response, ["Accept"])
    return response
