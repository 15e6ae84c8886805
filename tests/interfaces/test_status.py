"""The status of a job: waited for, streamed, signed, and cancelled from its page."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import StreamingHttpResponse
from django.template import Context, Template
from django.test import AsyncClient, Client, RequestFactory

from django_bgtasks import accepted
from django_bgtasks.http import events, status
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.app.tasks import add

from ..threads import in_loop

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def ada(db: None) -> User:
    """The owner of the jobs."""
    return User.objects.create_user("ada")


@pytest.fixture
def browser(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def a_job(owner: User | None = None) -> Job:
    with without_redis():
        return add.using(owner=owner).enqueue(1, 2).job


def progress(job: Job, done: int, message: str = "") -> None:
    Job.objects.filter(pk=job.pk).update(
        state="running", progress_done=done, progress_total=10, progress_message=message
    )


def test_a_wait_ends_at_its_time_and_never_takes_more_than_twenty_seconds(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "LONGEST_WAIT", 0.3)
    place = f"/jobs/{a_job(ada).pk}/"
    for wait in ("1000", "inf", "0.1", "nan", "-1", "soon"):
        began = time.monotonic()
        assert browser.get(place, {"wait": wait}).json()["state"] == "queued"
        assert time.monotonic() - began < 10
    assert status._seconds("20") == 0.3
    monkeypatch.undo()
    assert status._seconds("1000") == status._seconds("inf") == 20
    assert status._seconds("nan") == status._seconds("-1") == status._seconds("soon") == 0


@pytest.mark.django_db(transaction=True)
def test_a_wait_ends_with_the_first_news(browser: Client, ada: User) -> None:
    job = a_job(ada)
    place = f"/jobs/{job.pk}/"
    seen = browser.get(place).json()["version"]

    def work() -> None:
        progress(job, 3, "row 3")
        connection.close()

    worker = threading.Timer(0.3, work)
    worker.start()
    news = browser.get(place, {"wait": "20", "seen": seen}).json()
    worker.join()
    assert news["progress"] == {"done": 3, "total": 10, "message": "row 3"}
    assert news["version"] != seen


def test_a_wait_for_a_final_job_is_no_wait(browser: Client, ada: User) -> None:
    job = a_job(ada)
    run_jobs()
    version = browser.get(f"/jobs/{job.pk}/").json()["version"]
    began = time.monotonic()
    assert browser.get(f"/jobs/{job.pk}/", {"wait": "20", "seen": version}).json()["finished"]
    assert time.monotonic() - began < 15


def test_a_signed_address_is_for_whoever_has_it_for_a_day(rf: RequestFactory, ada: User) -> None:
    result = add.enqueue(1, 2)
    other = add.enqueue(3, 4)
    place = accepted(rf.post("/"), result, signed=True)["Location"]
    run_jobs()
    visitor = Client()
    assert visitor.get(place).json()["result"] == 3
    assert visitor.get(place.replace(result.id, other.id)).status_code == 404
    assert visitor.get(place[:-1]).status_code == 404
    assert visitor.get(place.partition("?")[0]).status_code == 404
    cancel = place.replace("/?", "/cancel/?")
    assert visitor.post(cancel).status_code == 403
    with time_machine.travel(time.time() + timedelta(hours=25).total_seconds()):
        assert visitor.get(place).status_code == 404


def test_who_may_cancel_a_job(browser: Client, ada: User) -> None:
    place = f"/jobs/{a_job(ada).pk}/cancel/"
    eve = Client()
    eve.force_login(User.objects.create_user("eve"))
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_job"))
    staff = Client()
    staff.force_login(looker)
    assert [c.post(place).status_code for c in (Client(), eve, staff)] == [404, 404, 403]
    assert browser.get(place).status_code == 405
    assert browser.post(place).json() == {"cancel": "cancelled"}
    assert browser.post(place).status_code == 409
    looker.user_permissions.add(Permission.objects.get(codename="cancel_job"))
    assert staff.post(f"/jobs/{a_job(ada).pk}/cancel/").status_code == 200


def test_cancelling_needs_the_csrf_token_and_goes_back_to_pages_of_the_site_only(
    browser: Client, ada: User
) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    assert strict.post(f"/jobs/{a_job(ada).pk}/cancel/").status_code == 403
    place = f"/jobs/{a_job(ada).pk}/cancel/"
    assert browser.post(place, {"next": "/here/?a=1"})["Location"] == "/here/?a=1"
    place = f"/jobs/{a_job(ada).pk}/cancel/"
    assert browser.post(place, {"next": "https://evil.example/"}).status_code == 200


async def stream(user: User, job: Job, **headers: str) -> Any:
    client = AsyncClient()
    await client.aforce_login(user)
    return await client.get(f"/jobs/{job.pk}/events/", headers=headers)


async def pieces(response: StreamingHttpResponse, count: int = 100) -> list[str]:
    """The first pieces of a stream, or all of them if it ends before."""
    found: list[str] = []
    async for piece in response:
        found.append(piece.decode())
        if len(found) == count:
            break
    return found


def data_of(piece: str) -> Any:
    return json.loads(piece.partition("data: ")[2])


@pytest.mark.django_db(transaction=True)
def test_a_stream_tells_every_change_and_ends_with_the_job(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REREAD_SECONDS", 0.02)
    monkeypatch.setattr(events, "HEARTBEAT", 0.1)
    job = a_job(ada)

    async def watch() -> list[str]:
        response = await stream(ada, job)
        assert response["Content-Type"] == "text/event-stream"
        assert "no-store" in response["Cache-Control"]
        watching = asyncio.create_task(pieces(response))
        await asyncio.sleep(1)
        await sync_to_async(progress)(job, 3, "two\nlines")
        await asyncio.sleep(1)
        await Job.objects.filter(pk=job.pk).aupdate(
            state="succeeded", finished_at=job.enqueued_at, result=[HOSTILE]
        )
        return await asyncio.wait_for(watching, 30)

    parts = in_loop(watch())
    assert parts[0] == "retry: 1000\n\n"
    assert ": still here\n\n" in parts
    facts = [data_of(piece) for piece in parts if "data: " in piece]
    assert [fact["state"] for fact in facts] == ["queued", "running", "succeeded"]
    assert facts[1]["progress"]["message"] == "two\nlines"
    assert facts[2]["result"] == [HOSTILE]
    assert all(piece.count("\n\n") == 1 for piece in parts)


@pytest.mark.django_db(transaction=True)
def test_who_reconnects_gets_what_is_newer_and_is_told_when_there_is_no_more(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REREAD_SECONDS", 0.02)
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    job = a_job(ada)

    async def reconnect() -> tuple[list[str], int]:
        first = await pieces(await stream(ada, job), 2)
        seen = first[1].partition("id: ")[2].partition("\n")[0]
        again = await pieces(await stream(ada, job, **{"Last-Event-ID": seen}), 2)
        await Job.objects.filter(pk=job.pk).aupdate(state="succeeded", finished_at=job.enqueued_at)
        last = await pieces(await stream(ada, job, **{"Last-Event-ID": seen}))
        assert data_of(last[-1])["finished"]
        final = last[-1].partition("id: ")[2].partition("\n")[0]
        return again, (await stream(ada, job, **{"Last-Event-ID": final})).status_code

    again, end = in_loop(reconnect())
    assert again[1] == ": still here\n\n"
    assert end == 204


@pytest.mark.django_db(transaction=True)
def test_a_stream_is_for_those_who_may_see_the_job_and_for_asgi(ada: User) -> None:
    job = a_job(ada)
    eve = User.objects.create_user("eve")
    assert in_loop(stream(eve, job)).status_code == 404
    assert in_loop(stream(ada, Job(pk=uuid4()))).status_code == 404
    client = Client()
    client.force_login(ada)
    assert client.get(f"/jobs/{job.pk}/events/").status_code == 406


def component(job: Job, user: Any, arguments: str = "") -> str:
    request = RequestFactory().get("/page/")
    request.user = user
    template = Template("{% load bgtasks %}{% bgtasks_progress job " + arguments + " %}")
    return template.render(Context({"job": job, "request": request, "csrf_token": "token"}))


def test_the_component_is_readable_without_a_script(ada: User) -> None:
    job = a_job(ada)
    progress(job, 3, HOSTILE)
    page = component(Job.objects.get(), ada)
    assert "Running" in page
    assert 'max="10" value="3"' in page
    assert ">30 %<" in page
    assert '<noscript><a href="/page/">Look again</a></noscript>' in page
    assert f'action="/jobs/{job.pk}/cancel/"' in page
    assert 'name="csrfmiddlewaretoken" value="token"' in page
    assert HOSTILE not in page
    assert "&lt;img" in page
    assert "style=" not in page
    assert "onclick" not in page


def test_the_component_offers_what_its_viewer_may_do(ada: User) -> None:
    job = a_job(ada)
    eve = User.objects.create_user("eve")
    assert "<form" not in component(job, eve)
    assert "signature=" in component(job, eve, "signed=True")
    assert 'href="/result/" hidden' in component(job, ada, "result_url='/result/'")
    run_jobs()
    done = component(Job.objects.get(), ada, "result_url='/result/'")
    assert "<form" not in done
    assert 'href="/result/">Show the result' in done
