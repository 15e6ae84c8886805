"""Views that enqueue into a queue that may be full, written in the ways that sites do it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponseBase
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View

from django_bgtasks import accepted, refuse_when_full
from tests.app.tasks import add


@refuse_when_full
def plain(request: HttpRequest) -> HttpResponseBase:
    """A function, which has made a row before."""
    Group.objects.create(name=f"{Group.objects.count()}")
    return accepted(request, add.enqueue(1, 2))


@refuse_when_full
async def coroutine(request: HttpRequest) -> HttpResponseBase:
    """A coroutine."""
    return accepted(request, await add.aenqueue(1, 2))


class Plain(View):
    """A class."""

    def post(self, request: HttpRequest) -> HttpResponseBase:
        return accepted(request, add.enqueue(1, 2))


class Coroutine(View):
    """A class of coroutines."""

    async def post(self, request: HttpRequest) -> HttpResponseBase:
        return accepted(request, await add.aenqueue(1, 2))


@method_decorator(refuse_when_full, name="dispatch")
class OnDispatch(Plain):
    """Decorated as a class."""


@method_decorator(refuse_when_full, name="dispatch")
class OnDispatchAsync(Coroutine):
    """Decorated as a class of coroutines."""


@method_decorator(refuse_when_full, name="post")
class OnPost(Plain):
    """Its method is decorated."""


@method_decorator(refuse_when_full, name="post")
class OnPostAsync(Coroutine):
    """Its coroutine is decorated."""


class OnMethod(View):
    """The method itself is decorated."""

    @refuse_when_full
    def post(self, request: HttpRequest) -> HttpResponseBase:
        return accepted(request, add.enqueue(1, 2))


class OnMethodAsync(View):
    """The coroutine itself is decorated."""

    @refuse_when_full
    async def post(self, request: HttpRequest) -> HttpResponseBase:
        return accepted(request, await add.aenqueue(1, 2))


VIEWS: dict[str, Any] = {
    "plain": plain,
    "coroutine": coroutine,
    "as-view": refuse_when_full(Plain.as_view()),
    "as-view-async": refuse_when_full(Coroutine.as_view()),
    **{
        view.__name__: view.as_view()
        for view in (OnDispatch, OnDispatchAsync, OnPost, OnPostAsync, OnMethod, OnMethodAsync)
    },
}
urlpatterns = [
    path("jobs/", include("django_bgtasks.urls")),
    *(path(f"{name}/", view) for name, view in VIEWS.items()),
]
