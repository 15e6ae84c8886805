"""What the owner of a job hears while it waits for a place."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from django_bgtasks import accepted
from django_bgtasks.jobs.actions import pause_queue, release_sequence, run_job_anyway
from django_bgtasks.models import Job
from django_bgtasks.monitoring import ahead
from django_bgtasks.testing import enqueued, run_jobs, without_redis
from tests.app.tasks import add

from .tasks import apply_event, call_api, send_mail, update_device

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_messages():  # type: ignore[no-untyped-def]
    with without_redis():
        yield


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def browser(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def asked(browser: Client, job: Any) -> Any:
    return browser.get(f"/jobs/{job.id}/").json()


def in_line(ada: User, count: int, **options: Any) -> list[Any]:
    return [call_api.using(owner=ada, **options).enqueue("a", n) for n in range(count)]


def test_its_owner_hears_how_many_are_before_it(browser: Client, ada: User) -> None:
    jobs = in_line(ada, 6)
    facts = [asked(browser, job) for job in jobs]
    assert [fact["waits"] and fact["waits"]["before"] for fact in facts] == [None, None, 0, 1, 2, 3]
    last = facts[-1]
    assert (last["state"], last["status"], last["finished"]) == ("blocked", "READY", False)
    assert last["label"] == "Waiting"
    assert last["waits"] == {
        "code": "limit",
        "before": 3,
        "more": False,
        "text": "It waits for a place: 3 jobs are before it.",
    }
    assert facts[2]["waits"]["text"] == "It waits for a place, and gets the next one."


def test_the_owner_of_a_job_that_was_skipped_hears_why(browser: Client, ada: User) -> None:
    _first, second = (update_device.using(owner=ada).enqueue("d") for _ in range(2))
    facts = asked(browser, second)
    assert (facts["state"], facts["error_code"]) == ("cancelled", "busy")
    assert facts["error"] == "Skipped: no place was free at its limit."


def test_whoever_follows_it_hears_when_the_line_moves(browser: Client, ada: User) -> None:
    jobs = in_line(ada, 4)
    before = asked(browser, jobs[3])
    run_job_anyway(jobs[2].id)
    after = asked(browser, jobs[3])
    assert (before["waits"]["before"], after["waits"]["before"]) == (1, 0)
    assert before["version"] != after["version"]
    run_jobs()
    assert asked(browser, jobs[3])["waits"] is None


def test_a_higher_priority_is_before_it(browser: Client, ada: User) -> None:
    jobs = in_line(ada, 3)
    in_line(ada, 2, priority=5)
    assert asked(browser, jobs[2])["waits"]["before"] == 2


def test_a_long_line_is_not_counted_to_its_end(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "COUNTED", 3)
    jobs = in_line(ada, 7)
    waits = [asked(browser, job)["waits"] for job in jobs[4:]]
    assert [(one["before"], one["more"]) for one in waits] == [(2, False), (3, False), (3, True)]
    assert waits[2]["text"] == "It waits for a place: 3+ jobs are before it."


def test_in_a_sequence_that_a_failed_job_holds_it_says_so(browser: Client, ada: User) -> None:
    first = apply_event.using(owner=ada).enqueue("o", 1, fails=True)
    second, third = (apply_event.using(owner=ada).enqueue("o", n) for n in (2, 3))
    assert asked(browser, second)["waits"]["text"] == "It waits for its turn, which comes next."
    assert asked(browser, third)["waits"]["text"] == "It waits for its turn: 1 job is before it."
    run_jobs()
    assert [asked(browser, job)["waits"]["code"] for job in (second, third)] == [
        "behind_failed"
    ] * 2
    release_sequence(first.id)
    run_jobs()
    assert asked(browser, third)["state"] == "succeeded"


def test_in_a_paused_queue_it_says_so_and_is_before_nobody(browser: Client, ada: User) -> None:
    in_line(ada, 2)
    paused = in_line(ada, 1, queue_name="emails")[0]
    [other] = in_line(ada, 1)
    pause_queue("emails")
    assert asked(browser, paused)["waits"]["code"] == "paused"
    assert asked(browser, other)["waits"]["before"] == 0


def test_one_that_waits_for_its_rate_says_so(browser: Client, ada: User) -> None:
    jobs = [send_mail.using(owner=ada).enqueue("a") for _ in range(5)]
    waits = [asked(browser, job)["waits"] for job in jobs[2:]]
    assert [one and (one["code"], one["before"]) for one in waits] == [
        None,
        ("rate", 0),
        ("rate", 1),
    ]
    assert waits[1]["text"] == "It waits for the next start that its rate allows."


def test_it_is_read_in_the_language_of_the_visitor(ada: User) -> None:
    job = in_line(ada, 5)[-1]
    waits = ahead.jobs_ahead(Job.objects.get(pk=job.id), "default")
    assert waits is not None
    with translation.override("de"):
        assert waits.text == "Sie wartet auf einen Platz: 2 Aufgaben sind vor ihr."


def test_the_progress_bar_says_what_it_waits_for(ada: User) -> None:
    job = Job.objects.get(pk=in_line(ada, 4)[-1].id)
    request = RequestFactory().get("/")
    request.user = ada
    tag = Template("{% load bgtasks %}{% bgtasks_progress job %}")
    html = tag.render(Context({"job": job, "request": request}))
    assert "data-message>It waits for a place: 1 job is before it.</span>" in html


def test_a_job_without_a_limit_costs_no_statement_more(browser: Client, ada: User) -> None:
    plain, *_, waiting = add.using(owner=ada).enqueue(1, 2), *in_line(ada, 3)

    def statements(job: Any) -> int:
        with CaptureQueriesContext(connection) as captured:
            asked(browser, job)
        return sum("django_bgtasks" in query["sql"] for query in captured)

    assert (statements(plain), statements(enqueued(call_api)[0])) == (1, 1)
    assert statements(waiting) == 2


def test_an_answer_of_202_asks_nothing(ada: User) -> None:
    result = in_line(ada, 3)[-1]
    with CaptureQueriesContext(connection) as captured:
        response = accepted(RequestFactory().get("/"), result)
    assert response.status_code == 202
    assert len(captured) == 0


def test_a_result_knows_that_its_job_waits() -> None:
    for number in range(2):
        call_api.enqueue("a", number)
    result = call_api.enqueue("a", 2)
    assert (result.status, result.job.waits_for, result.job.lane) == ("READY", "lane", "api:a")
    run_jobs()
    result.refresh()
    assert (result.status, result.job.waits_for) == ("SUCCESSFUL", "")
