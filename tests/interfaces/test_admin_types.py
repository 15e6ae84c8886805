"""Jobs with types in the admin and in their status: readable, masked, copied and searched."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_bgtasks import job_status, testing
from django_bgtasks.models import Job
from tests.app.models import Note
from tests.app.typed import SEEN, Item, Status, typed_echo, typed_secret

pytestmark = pytest.mark.django_db
Staff = Callable[..., Client]
LIST = "/admin/django_bgtasks/job/"
DAY = dt.date(2026, 11, 28)


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    SEEN.clear()
    with testing.without_redis():
        yield


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return unescape(response.content.decode())


def copy(client: Client, job: Job, args: Any, kwargs: Any) -> str:
    data = {"args": json.dumps(args), "kwargs": json.dumps(kwargs)}
    response = client.post(f"{LIST}{job.pk}/duplicate/", data, follow=True)
    return unescape(response.content.decode())


def test_the_list_shows_values_and_the_page_their_types_in_one_line(admin_client: Client) -> None:
    job = typed_echo.enqueue(DAY, Status.OPEN, {1: (Decimal("1.50"),)}, item=Item("pen")).job
    assert '"2026-11-28", "open", {"1": ["1.50"]}, item={"' in page(admin_client, LIST)
    shown = page(admin_client, f"{LIST}{job.pk}/change/")
    assert '{ "$type": "date", "value": "2026-11-28" }' in shown
    assert '"tests.app.typed:Item"' in shown


@pytest.mark.parametrize("word", ["2026-11-28", "tests.app.typed:Item", "1.50"])
def test_the_search_finds_typed_values(admin_client: Client, word: str) -> None:
    job = typed_echo.enqueue(DAY, Item("pen", Decimal("1.50"))).job
    assert str(job.pk) in page(admin_client, f"{LIST}?q={word}")
    assert str(job.pk) not in page(admin_client, f"{LIST}?q=nothing-of-it")


def test_what_is_sensitive_is_masked_at_any_depth_and_under_any_key(staff: Staff) -> None:
    secrets = {Status.API_KEY: "s3cr3t-1", 7: {"password": "s3cr3t-2"}, "open": "shown"}
    job = typed_secret.enqueue(secrets, Decimal("77.77")).job
    client = staff("view_job")
    for path in (LIST, f"{LIST}{job.pk}/change/"):
        shown = page(client, path)
        assert "shown" in shown
        assert not [one for one in ("s3cr3t-1", "s3cr3t-2", "77.77") if one in shown]
    assert str(job.pk) not in page(client, f"{LIST}?q=s3cr3t-1")


def test_a_copy_has_the_same_values_and_a_changed_one_has_the_new_ones(
    admin_client: Client,
) -> None:
    note = Note.objects.create(text="a")
    job = Job.objects.get(pk=typed_echo.enqueue(note, {DAY}, item=Item("pen")).id)
    assert "this is the new job" in copy(admin_client, job, job.args, job.kwargs)
    changed = [{**job.args[0]}, {"$type": "tuple", "value": [1]}]
    assert "this is the new job" in copy(admin_client, job, changed, {})
    testing.run_jobs()
    assert [
        *[((note, {DAY}), {"item": Item("pen")})] * 2,
        ((note, (1,)), {}),
    ] == SEEN


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ({"$type": "date", "value": "28.11.2026"}, "Invalid isoformat string"),
        ({"$type": "enum", "class": "antigravity:X", "name": "A"}, "there is no such enum"),
        ({"$type": "model", "model": "tests_app.note", "pk": 0, "using": "default"}, "not exist"),
        ({"$type": "thing"}, "'thing' is no type"),
    ],
)
def test_a_copy_of_what_is_no_value_is_refused_with_the_reason(
    admin_client: Client, tag: Any, why: str
) -> None:
    job = typed_echo.enqueue(1).job
    shown = copy(admin_client, job, [tag], {})
    assert why in shown
    assert "nothing was enqueued" in shown
    assert Job.objects.count() == 1


def test_the_status_of_a_job_has_plain_json(rf: Any) -> None:
    user = User.objects.create_user("ada")
    result = typed_echo.using(owner=user).enqueue(DAY, {Decimal("1.0")}, ok=Status.OPEN)
    testing.run_jobs()
    request = rf.get("/")
    request.user = user
    found = json.loads(job_status(request, result.job.pk).content)
    assert found["result"] == {"args": ["2026-11-28", ["1.0"]], "kwargs": {"ok": "open"}}
