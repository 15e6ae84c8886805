"""Views that enqueue into a queue that may be full, written in the ways that sites do it."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponseBase
from django.urls import include, path

from django_bgtasks import accepted, refuse_when_full
from tests.app.tasks import add

from .decorated import decorated


def make_and_enqueue(request: HttpRequest) -> HttpResponseBase:
    """It has made a row before."""
    Group.objects.create(name=f"{Group.objects.count()}")
    return accepted(request, add.enqueue(1, 2))


async def enqueue(request: HttpRequest) -> HttpResponseBase:
    """A coroutine."""
    return accepted(request, await add.aenqueue(1, 2))


VIEWS = decorated(refuse_when_full, make_and_enqueue, enqueue)
urlpatterns = [
    path("jobs/", include("django_bgtasks.urls")),
    *(path(f"{name}/", view) for name, view in VIEWS.items()),
]
