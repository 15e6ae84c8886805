"""What comes with the package for OPTIONS["carry"]: the user, and who that is where."""

from __future__ import annotations

import asyncio
import contextvars
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings

from django_bgtasks import task
from django_bgtasks.carry import acurrent_user, current_user, use_user, user_middleware
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def carries_the_user(settings: Settings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django_bgtasks.carry.user_middleware"]
    options = {
        **settings.TASKS["default"]["OPTIONS"],
        "carry": ["django_bgtasks.carry.user", "django_bgtasks.carry.language"],
    }
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@task
def whoami() -> str | None:
    user = current_user()
    return user and f"{user.username} {translation.get_language()}"


@task
async def awhoami() -> str | None:
    user = await acurrent_user()
    return user and f"{user.username} {translation.get_language()}"


@task
def does_not_ask() -> None:
    """Nobody asks for the user."""


@task
def asks_twice() -> None:
    assert current_user() is current_user() is not None


@task
def enqueues_more() -> None:
    whoami.enqueue()


def view(request: HttpRequest) -> HttpResponse:
    if name := request.GET.get("as"):
        # As a view that logs somebody in, or DRF, does it.
        request.user = User.objects.get(username=name)
    whoami.enqueue()
    return HttpResponse(str(current_user()))


async def aview(request: HttpRequest) -> HttpResponse:
    await awhoami.aenqueue()
    return HttpResponse(str(await acurrent_user()))


@pytest.fixture
def pages(settings: Settings) -> None:
    urls: Any = ModuleType("urls_of_carry")
    urls.urlpatterns = [path("view/", view), path("aview/", aview)]
    settings.ROOT_URLCONF = urls


def results() -> list[Any]:
    return [job.result for job in run_jobs()]


@pytest.mark.usefixtures("pages")
def test_a_job_runs_for_the_user_of_the_request_that_enqueued_it(client: Client, ada: User) -> None:
    assert client.get("/view/").content == b"None"
    client.force_login(ada)
    assert client.get("/view/").content == b"ada"
    User.objects.create_user("bob")
    assert client.get("/view/?as=bob").content == b"bob"
    assert client.get("/aview/").content == b"ada"
    assert results() == [None, "ada en-us", "bob en-us", "ada en-us"]
    assert current_user() is None


@pytest.mark.usefixtures("pages")
@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_view_and_its_jobs_have_the_user_too(
    async_client: AsyncClient, ada: User
) -> None:
    async_client.force_login(ada)

    async def get() -> bytes:
        answer: Any = await async_client.get("/aview/")
        # Those of the thread in which the view has asked the database.
        await sync_to_async(connections.close_all)()
        return bytes(answer.content)

    assert asyncio.run(get()) == b"ada"
    assert results() == ["ada en-us"]


def test_the_middleware_asks_for_no_user_by_itself() -> None:
    asked: list[Any] = []
    request = HttpRequest()
    request.user = SimpleLazyObject(lambda: asked.append(1))  # type: ignore[assignment]
    assert user_middleware(lambda request: HttpResponse("no"))(request).content == b"no"
    # Nor does it need AuthenticationMiddleware.
    answer = user_middleware(lambda request: HttpResponse(str(current_user())))(HttpRequest())
    assert (answer.content, asked) == (b"None", [])


def test_a_job_reads_its_user_when_it_asks_and_then_once(ada: User) -> None:
    def reads(task: Any) -> int:
        with use_user(ada):
            task.enqueue()
        with CaptureQueriesContext(connection) as queries:
            run_jobs()
        return sum("auth_user" in query["sql"] for query in queries)

    assert [reads(does_not_ask), reads(asks_twice)] == [0, 1]


def test_whoever_is_deleted_meanwhile_is_nobody(ada: User) -> None:
    with use_user(ada):
        whoami.enqueue()
    ada.delete()
    assert results() == [None]


def test_use_user_holds_in_its_block_and_for_what_its_jobs_enqueue(ada: User) -> None:
    with use_user(ada):
        assert current_user() is ada
        enqueues_more.enqueue()
        with use_user(None):
            assert current_user() is None
            whoami.enqueue()
    # A copy made outside knows nothing of it.
    assert contextvars.copy_context().run(current_user) is None
    assert results() == [None, None, "ada en-us"]
    assert {job.carried for job in Job.objects.filter(task__endswith="enqueues_more")} == {
        f'{{"user": "{ada.pk}", "language": "en-us"}}'
    }
