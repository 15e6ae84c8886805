"""A site whose views are decorated with `@idempotent` in the ways that sites do it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import login
from django.contrib.auth.models import Group, User
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.db import IntegrityError, transaction
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from django_bgtasks import idempotent

from .decorated import decorated


def effect(name: str = "order") -> Group:
    """What a view does: one more row."""
    return Group.objects.create(name=f"{name} {Group.objects.count() + 1}")


def effects() -> int:
    """How often a view did it."""
    return Group.objects.count()


def answer(request: HttpRequest, what: str) -> JsonResponse:
    """An answer that tells by whom and how often it was made."""
    return JsonResponse({"what": what, "made": effect(what).name}, status=201)


class Base(View):
    """Views that differ in what they inherit from nothing but themselves."""

    def post(self, request: HttpRequest) -> HttpResponse:
        return answer(request, type(self).__name__)

    patch = post


class Apples(Base):
    """One view of the module."""


class Pears(Base):
    """Another one."""


@method_decorator(idempotent, name="dispatch")
class Plums(Base):
    """Decorated as a class."""


@method_decorator(idempotent, name="dispatch")
class Figs(Base):
    """Another one, decorated as a class."""


@method_decorator(idempotent, name="dispatch")
class Dates(Plums):
    """Its base is decorated, too."""


class OnMethod(View):
    """The method itself is decorated."""

    @idempotent
    def post(self, request: HttpRequest) -> HttpResponse:
        return answer(request, type(self).__name__)


class OnMethodToo(OnMethod):
    """Inherits the method."""


def make(request: HttpRequest) -> HttpResponse:
    """An answer that is the same for each view that gives it."""
    return answer(request, "made")


async def amake(request: HttpRequest) -> HttpResponse:
    """The same, by a coroutine."""
    await Group.objects.acreate(name="async")
    return JsonResponse({"what": "async"}, status=201)


DECORATED = decorated(idempotent, make, amake)


@idempotent
def order(request: HttpRequest, number: int = 0) -> HttpResponse:
    """A view as a function, at several routes."""
    return answer(request, f"order {number}")


@idempotent(identity="X-Shop")  # type: ignore[untyped-decorator]
def of_shop(request: HttpRequest) -> HttpResponse:
    """Who asks is in a header."""
    return answer(request, request.headers.get("X-Shop", ""))


@idempotent(identity=lambda request: request.GET.get("who"))  # type: ignore[untyped-decorator]
def of_whom(request: HttpRequest) -> HttpResponse:
    """Who asks is what a function says."""
    return answer(request, "whom")


@idempotent
def upload(request: HttpRequest) -> HttpResponse:
    """Chooses how it is uploaded, and then reads the form."""
    request.upload_handlers = [TemporaryFileUploadHandler(request)]
    files: Any = request.FILES
    sizes = {name: file.size for name, file in files.items()}
    return JsonResponse({"made": effect().name, "sizes": sizes, "fields": request.POST.dict()})


@idempotent
def raw(request: HttpRequest) -> HttpResponse:
    """Reads the body as bytes, all at once or in pieces, as the client asks."""
    effect()
    read = request.body if "whole" in request.GET else b"".join(iter(lambda: request.read(7), b""))
    return HttpResponse(str(len(read)))


@csrf_exempt
@idempotent
@csrf_protect
def protected_upload(request: HttpRequest) -> HttpResponse:
    """As Django's docs say it for upload handlers of a view's own."""
    return HttpResponse(f"{effect().name} {len(request.FILES)}")


@idempotent
def rolls_back(request: HttpRequest) -> HttpResponse:
    """Says that nothing is to be kept, with an answer of its own."""
    effect()
    transaction.set_rollback(True)
    return HttpResponse("invalid", status=int(request.GET.get("status", "400")))


@transaction.non_atomic_requests
@idempotent
def rolls_back_its_own(request: HttpRequest) -> HttpResponse:
    """Takes no part in the transaction of each request."""
    effect()
    transaction.set_rollback(True)
    return HttpResponse("invalid", status=400)


@idempotent
def duplicate(request: HttpRequest) -> HttpResponse:
    """Answers an error of the database with one of its own."""
    try:
        for _ in range(2):
            Group.objects.create(name="the same")
    except IntegrityError:
        return HttpResponse("taken", status=400)
    return HttpResponse("made")


def raises_later(request: HttpRequest) -> HttpResponse:
    """What is around the decorated view fails."""
    order(request)
    if "fail" in request.GET:
        raise ZeroDivisionError
    return HttpResponse("fine")


@idempotent
def page(request: HttpRequest) -> TemplateResponse:
    """Rendered later, and with a query."""
    template = engines["django"].from_string("{{ made.name }} of {{ count }}")
    return TemplateResponse(request, template, {"made": effect(), "count": Group.objects.count})


@idempotent
def broken_page(request: HttpRequest) -> TemplateResponse:
    """Its template raises, when it is rendered."""

    def fail() -> None:
        raise ZeroDivisionError

    effect()
    template = engines["django"].from_string("{{ fail }}")
    return TemplateResponse(request, template, {"fail": fail})


@idempotent
def export(request: HttpRequest) -> HttpResponseBase:
    """A file, with its length."""
    effect()
    if "file" in request.GET:
        return FileResponse([b"abc"], headers={"Content-Length": "3", "ETag": '"1"'})
    return StreamingHttpResponse([b"a", b"b"], headers={"Content-Length": "2"})


@idempotent
def sign_in(request: HttpRequest) -> HttpResponse:
    """Logs a visitor in."""
    effect()
    login(request, User.objects.get())
    return HttpResponse("welcome")


@idempotent
def no_answer(request: HttpRequest) -> Any:
    """Forgets to answer."""
    effect()


urlpatterns = [
    path("apples/", idempotent(Apples.as_view())),
    path("pears/", idempotent(Pears.as_view())),
    path("plums/", Plums.as_view()),
    path("figs/", Figs.as_view()),
    path("dates/", Dates.as_view()),
    path("method/", OnMethod.as_view()),
    path("method-too/", OnMethodToo.as_view()),
    *(path(f"{name}/", view) for name, view in DECORATED.items()),
    path("order/", order),
    path("order/<int:number>/", order),
    path("other/", order),
    path("shop/", of_shop),
    path("whom/", of_whom),
    path("upload/", upload),
    path("protected/", protected_upload),
    path("raw/", raw),
    path("rolls-back/", rolls_back),
    path("rolls-back-its-own/", rolls_back_its_own),
    path("duplicate/", duplicate),
    path("duplicate-by-itself/", idempotent(duplicate.__wrapped__, atomic=False)),
    path("raises-later/", raises_later),
    path("page/", page),
    path("broken-page/", broken_page),
    path("export/", export),
    path("sign-in/", sign_in),
    path("no-answer/", no_answer),
]
