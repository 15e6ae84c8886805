"""The status of a workflow for who waits for it: read, awaited, streamed, shown, cancelled."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.template import Context, Template
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from django_bgtasks import accepted, chain, group, status_url
from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.http import batches, cancel
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.workflows.followers import sweep
from tests.workflows import tasks

from ..threads import in_loop
from .workflows import make_batch, make_member, make_step, split_and_join

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each look counts."""
    monkeypatch.setattr(batches, "GOOD_FOR", 0.0)
    with without_redis():
        yield


@pytest.fixture
def ada(db: None) -> User:
    """The owner of the workflows."""
    return User.objects.create_user("ada")


@pytest.fixture
def browser(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def facts_of(client: Client, batch: Batch, **query: str) -> dict[str, Any]:
    """What the status URL says."""
    found: dict[str, Any] = client.get(f"/jobs/{batch.pk}/", query).json()
    return found


def test_the_bar_moves_as_members_end(browser: Client, ada: User) -> None:
    run = group(tasks.double.step(number) for number in range(3)).using(owner=ada).enqueue()
    facts = facts_of(browser, run.batch)
    assert (facts["state"], facts["label"], facts["status"]) == ("queued", "Queued", "READY")
    assert facts["progress"] == {"done": 0, "total": 3, "message": "0 of 3 parts are done."}
    first = Job.objects.filter(batch=run.id)[0]
    Job.objects.filter(pk=first.pk).update(state="succeeded", finished_at=clock.now())
    facts = facts_of(browser, run.batch)
    assert (facts["state"], facts["progress"]["done"]) == ("running", 1)
    run_jobs()
    facts = facts_of(browser, run.batch)
    assert (facts["state"], facts["finished"], facts["status"]) == ("succeeded", True, "SUCCESSFUL")
    assert facts["progress"] == {"done": 3, "total": 3, "message": ""}


def test_a_failure_is_told_in_figures_and_never_in_its_words(browser: Client, ada: User) -> None:
    steps = [tasks.double.step(1), tasks.fail.step("a secret path")]
    run = group(*steps).using(owner=ada).enqueue()
    run_jobs()
    facts = facts_of(browser, run.batch)
    assert (facts["state"], facts["error"]) == ("failed", "1 of 2 parts has failed.")
    assert "secret" not in json.dumps(facts)


def test_while_others_go_on_a_failed_part_is_seen(browser: Client, ada: User) -> None:
    batch = make_batch(owner=ada, failed_at=clock.now())
    for state in (State.FAILED, State.RUNNING, State.RUNNING):
        make_member(batch, state)
    facts = facts_of(browser, batch)
    assert facts["progress"]["message"] == "1 of 3 parts are done. 1 has failed."
    assert (facts["state"], facts["error"]) == ("running", "")


def test_a_part_that_waits_says_so_and_belongs_to_the_owner_of_the_whole(
    browser: Client, ada: User
) -> None:
    root = make_batch("chain", owner=ada)
    first = make_member(root, State.RUNNING)
    part = make_batch("group", root, gate=first.pk, opened_at=None)
    make_step(part, first.pk)
    facts = facts_of(browser, part)
    assert (facts["state"], facts["label"]) == ("blocked", "Waiting")
    assert facts["waits"]["text"] == "It waits for the step before it."
    step = Job.objects.get(batch=part.pk)
    Job.objects.filter(pk=step.pk).update(owner=ada)
    facts = browser.get(f"/jobs/{step.pk}/").json()
    assert (facts["waits"]["code"], facts["label"]) == ("step", "Waiting")


def test_who_may_see_and_cancel_a_workflow(browser: Client, ada: User) -> None:
    run = chain(tasks.note.step("a"), tasks.note.step("b")).using(owner=ada).enqueue()
    place = f"/jobs/{run.id}/"
    eve = Client()
    eve.force_login(User.objects.create_user("eve"))
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_job"))
    staff = Client()
    staff.force_login(looker)
    assert [c.get(place).status_code for c in (Client(), eve, staff)] == [404, 404, 404]
    looker.user_permissions.add(Permission.objects.get(codename="view_batch"))
    assert [c.get(place).status_code for c in (staff, browser)] == [200, 200]
    assert staff.post(f"{place}cancel/").status_code == 403
    assert Client().get(status_url(run.id, signed=True)).status_code == 200
    assert Client().post(f"{place}cancel/").status_code == 404
    assert browser.post(f"{place}cancel/").json() == {"cancel": "cancelled"}
    assert browser.post(f"{place}cancel/").status_code == 409
    facts = facts_of(browser, run.batch)
    assert (facts["state"], facts["error"]) == ("cancelled", "You cancelled it.")
    assert facts_of(staff, run.batch)["error"] == "ada cancelled it."
    assert not Job.objects.live().exists()


def test_one_that_still_runs_is_asked_to_stop(browser: Client, ada: User) -> None:
    batch = make_batch(owner=ada)
    make_member(batch, State.RUNNING, worker=clock.new_id(), attempt=1)
    assert browser.post(f"/jobs/{batch.pk}/cancel/").json() == {"cancel": "requested"}
    facts = facts_of(browser, batch)
    assert (facts["state"], facts["label"]) == ("running", "Being cancelled")


def test_a_view_answers_with_the_address_of_a_workflow(rf: RequestFactory) -> None:
    run = group(tasks.double.step(1)).enqueue()
    answer = accepted(rf.post("/"), run, signed=True)
    assert (answer.status_code, json.loads(answer.content)["id"]) == (202, str(run.id))
    assert Client().get(answer["Location"]).json()["progress"]["total"] == 1


def test_a_wait_ends_with_the_first_news(browser: Client, ada: User) -> None:
    batch = make_batch(owner=ada)
    member = make_member(batch)
    seen = facts_of(browser, batch)["version"]

    def work() -> None:
        Job.objects.filter(pk=member.pk).update(state="succeeded", finished_at=clock.now())
        connection.close()

    worker = threading.Timer(0.3, work)
    worker.start()
    facts = facts_of(browser, batch, wait="20", seen=seen)
    worker.join()
    assert facts["progress"]["done"] == 1


def test_many_who_look_at_once_are_one_count(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "GOOD_FOR", 60.0)
    batch = make_batch(owner=ada)
    make_member(batch)
    facts_of(browser, batch)
    with CaptureQueriesContext(connection) as captured:
        for _ in range(5):
            facts_of(browser, batch)
    assert not [query["sql"] for query in captured if "COUNT" in query["sql"]]
    # The end is never late.
    Batch.objects.filter(pk=batch.pk).update(outcome="succeeded", finished_at=clock.now())
    assert facts_of(browser, batch)["finished"]
    monkeypatch.setattr(batches, "REMEMBERED", 2)
    for _ in range(4):
        facts_of(browser, make_batch(owner=ada))
    assert len(batches._counts) == 2


def test_a_stream_tells_each_change_until_the_end(ada: User) -> None:
    batch = make_batch(owner=ada)
    member = make_member(batch)

    async def listen() -> list[dict[str, Any]]:
        client = AsyncClient()
        await sync_to_async(client.force_login)(ada)
        response: Any = await client.get(f"/jobs/{batch.pk}/events/")
        assert response["Content-Type"] == "text/event-stream"
        found = []
        async for chunk in response:
            text = chunk.decode() if isinstance(chunk, bytes) else chunk
            if "data: " in text:
                found.append(json.loads(text.partition("data: ")[2]))
                await sync_to_async(move)(len(found))
        return found

    def move(number: int) -> None:
        ended = {"finished_at": clock.now()}
        if number == 1:
            Job.objects.filter(pk=member.pk).update(state="succeeded", **ended)
        else:
            Batch.objects.filter(pk=batch.pk).update(outcome="succeeded", **ended)

    found = in_loop(listen())
    assert [one["state"] for one in found] == ["queued", "running", "succeeded"]


@pytest.mark.parametrize("kind", ["row", "handle", "id", "text"])
def test_the_tag_takes_a_workflow_as_it_takes_a_job(
    rf: RequestFactory, ada: User, kind: str
) -> None:
    run = group(tasks.double.step(n) for n in range(4)).using(owner=ada).enqueue()
    Job.objects.filter(pk=Job.objects.filter(batch=run.id)[0].pk).update(
        state="succeeded", finished_at=clock.now()
    )
    given = {"row": run.batch, "handle": run, "id": run.id, "text": str(run.id)}[kind]
    html = tag(rf, ada, given)
    assert f'data-url="/jobs/{run.id}/"' in html
    assert 'max="4" value="1"' in html
    assert "1 of 4 parts are done." in html
    assert "25 %" in html
    assert f'action="/jobs/{run.id}/cancel/"' in html


def test_the_tag_shows_a_job_by_its_id_and_nothing_of_what_is_gone(
    rf: RequestFactory, ada: User
) -> None:
    _root, _parts, last = split_and_join()
    assert "It waits for the step before it." in tag(rf, ada, str(last.pk))
    for gone in (clock.new_id(), "no id"):
        assert "<bgtasks-progress" not in tag(rf, ada, gone)


def tag(rf: RequestFactory, user: User, job: object) -> str:
    """What the tag makes of it."""
    request = rf.get("/page/")
    request.user = user
    template = Template("{% load bgtasks %}{% bgtasks_progress job %}")
    return template.render(Context({"job": job, "request": request}))


def test_who_cancels_very_many_jobs_does_not_wait_for_them(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel, "AT_ONCE", 2)
    run = group(tasks.double.step(n) for n in range(3)).using(owner=ada).enqueue()
    assert browser.post(f"/jobs/{run.id}/cancel/").json() == {"cancel": "requested"}
    assert Job.objects.filter(batch=run.id, state="queued").count() == 3
    assert facts_of(browser, run.batch)["label"] == "Being cancelled"
    sweep("default")
    assert facts_of(browser, run.batch)["error"] == "You cancelled it."
