"""`@idempotent` on the views of Django REST framework."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from pytest_django import Settings

from django_bgtasks.models import IdempotencyRecord

pytest.importorskip("rest_framework", reason="needs djangorestframework")

from rest_framework.test import APIClient

from .idempotent_site import effects
from .rest_site import PLACES

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.interfaces.rest_site"),
]
# Who authenticates before the decorator looks.
INSIDE = {"/method/", "/post/", "/itself/", "/inside/", "/baskets/", "/baskets/pay/"}


@pytest.fixture(autouse=True)
def users() -> None:
    """Those who have tokens."""
    for name in ("ada", "ben"):
        User.objects.create_user(name)


def post(path: str, item: Any = "1", token: str = "ada.1", kind: str = "json", **more: Any) -> Any:
    client = APIClient(headers={"Idempotency-Key": '"8e03978e"'})
    client.raise_request_exception = False
    headers = {"Authorization": token} if token else {}
    return client.post(path, {"item": item}, format=kind, headers=headers, **more)


def is_replay(response: Any) -> bool:
    return "Idempotency-Replayed" in response.headers


@pytest.mark.parametrize("kind", ["json", "multipart"])
@pytest.mark.parametrize("path", PLACES)
def test_the_second_request_gets_the_first_answer(path: str, kind: str) -> None:
    first, again = post(path, kind=kind), post(path, kind=kind)
    assert first.status_code == 201, first.content
    assert first.json() == {"by": "ada", "made": "order 1"}
    assert is_replay(again)
    assert (again.status_code, again.content) == (201, first.content)
    for header in ("Content-Type", "Allow", "Vary"):
        assert again.headers.get(header) == first.headers.get(header)
    assert post(path, "2", kind=kind).status_code == 422
    assert effects() == 1


@pytest.mark.parametrize("path", PLACES)
def test_two_users_do_not_share_their_keys(path: str) -> None:
    made = {token: post(path, token=token) for token in ("ada.1", "ben.1", "")}
    assert {response.status_code for response in made.values()} == {201}
    assert effects() == 3
    for token, first in made.items():
        again = post(path, token=token)
        assert is_replay(again)
        assert again.content == first.content


@pytest.mark.parametrize("path", PLACES)
def test_users_that_a_test_forces_do_not_share_their_keys(path: str) -> None:
    for name in ("ada", "ben"):
        client = APIClient(headers={"Idempotency-Key": '"8e03978e"'})
        client.force_authenticate(User.objects.get(username=name))
        for replay in (False, True):
            response = client.post(path, {"item": "1"})
            assert response.json()["by"] == name
            assert is_replay(response) is replay


@pytest.mark.parametrize("path", sorted(INSIDE))
def test_the_user_counts_where_the_framework_knows_it_and_not_the_token(path: str) -> None:
    assert not is_replay(post(path))
    assert is_replay(post(path, token="ada.2"))


def test_the_views_do_not_share_their_keys() -> None:
    assert not any(is_replay(post(path)) for path in PLACES)
    assert effects() == len(PLACES)


@pytest.mark.parametrize("each_request", [True, False])
@pytest.mark.parametrize("item", ["none", "sold"])
@pytest.mark.parametrize("path", PLACES)
def test_an_invalid_body_is_400_each_time(
    path: str, item: str, each_request: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", each_request)
    for _ in range(2):
        assert post(path, item).status_code == 400
    assert not IdempotencyRecord.objects.filter(state="in_progress").exists()
    if each_request and item == "none":
        assert effects() == 0
        assert not IdempotencyRecord.objects.exists()
    malformed = APIClient().post(
        path, b"{", content_type="application/json", headers={"Idempotency-Key": "new"}
    )
    assert malformed.status_code == 400
    assert post(path, "1", token="ben.1").status_code == 201


@pytest.mark.parametrize("path", PLACES)
def test_a_page_for_people_is_replayed_as_it_was(path: str, settings: Settings) -> None:
    """The browsable API renders templates; what is rendered is chosen for each request."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]
    first = post(path, HTTP_ACCEPT="text/html")
    assert first["Content-Type"].startswith("text/html")
    again = post(path, HTTP_ACCEPT="text/html")
    assert is_replay(again)
    assert again["Content-Type"] == first["Content-Type"]
    assert b"order 1" in again.content


@pytest.mark.parametrize("path", PLACES)
def test_files_of_a_form_are_compared_and_reach_the_view(path: str) -> None:
    def upload(content: bytes) -> Any:
        return post(path, SimpleUploadedFile("a.csv", content), kind="multipart")

    assert upload(b"1").status_code == 201
    assert is_replay(upload(b"1"))
    assert upload(b"2").status_code == 422


def test_a_patch_with_another_form_is_not_answered_with_the_firsts() -> None:
    client = APIClient(headers={"Idempotency-Key": '"8e03978e"'})
    for item, status in (("1", 201), ("2", 422), ("1", 201)):
        assert client.patch("/method/", {"item": item}).status_code == status
    assert effects() == 1


def test_the_views_of_a_router_are_idempotent_too() -> None:
    client = APIClient(headers={"Idempotency-Key": '"8e03978e"'})
    made = [client.post("/groups/", {"name": "a"}) for _ in range(2)]
    assert [response.status_code for response in made] == [201, 201]
    assert made[0].json() == made[1].json()
    assert is_replay(made[1])
    # The name is taken now, which is no answer to the first request.
    taken = client.post("/groups/", {"name": "a"}, headers={"Idempotency-Key": "another"})
    assert taken.status_code == 400
    pk = made[0].json()["id"]
    renamed = [client.post(f"/groups/{pk}/rename/") for _ in range(2)]
    assert renamed[0].json() == renamed[1].json()
    assert is_replay(renamed[1])
    assert effects() == 2
