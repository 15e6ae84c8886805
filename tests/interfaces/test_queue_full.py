"""`refuse_when_full`: a full queue is 503, whatever kind of view it is that enqueues."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.auth.models import Group
from django.db import connection
from django.test import AsyncClient, Client
from pytest_django import Settings

from django_bgtasks import testing
from django_bgtasks.models import Job

from ..threads import in_loop
from .full_site import VIEWS

pytestmark = pytest.mark.urls("tests.interfaces.full_site")


@pytest.fixture(autouse=True)
def one_place(settings: Settings) -> Any:
    """A queue of one job."""
    entry = {**settings.TASKS["default"], "OPTIONS": {"max_depth": 1}}
    settings.TASKS = {"default": entry}
    with testing.without_redis():
        yield


def check(first: Any, second: Any) -> None:
    assert first.status_code == 202
    assert second.status_code == 503
    assert int(second["Retry-After"]) == 30
    assert second.json()["queue"] == "default"
    assert Job.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("name", VIEWS)
def test_a_full_queue_is_a_503_under_wsgi(client: Client, name: str) -> None:
    check(client.post(f"/{name}/"), client.post(f"/{name}/"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", VIEWS)
def test_a_full_queue_is_a_503_under_asgi(name: str) -> None:
    async def twice() -> list[Any]:
        client = AsyncClient()
        return [await client.post(f"/{name}/") for _ in range(2)]

    check(*in_loop(twice()))


@pytest.mark.django_db
def test_a_refused_request_leaves_no_rows_where_each_is_a_transaction(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    check(client.post("/function/"), client.post("/function/"))
    assert Group.objects.count() == 1


def test_a_decorated_coroutine_still_looks_like_one() -> None:
    assert iscoroutinefunction(VIEWS["function-async"])
