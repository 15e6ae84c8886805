"""Views that answer before the work is done."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import translation
from pytest_django import Settings

from django_bgtasks import EffectUnknown, GiveUp, JobTimeout, accepted, refuse_when_full
from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome, failure_of
from django_bgtasks.core.states import Transition
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.app.tasks import add, fail

from .rows import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def user(django_user_model: Any) -> Any:
    """The one who enqueues."""
    return django_user_model.objects.create_user("ada", password="x")


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_accepted_answers_202_and_says_where_to_look(rf: RequestFactory) -> None:
    result = add.enqueue(1, 2)
    response = accepted(rf.post("/orders/"), result)
    assert response.status_code == 202
    assert response["Location"] == f"http://testserver/jobs/{result.id}/"
    assert int(response["Retry-After"]) > 0
    assert f'"id": "{result.id}", "status": "READY"'.encode() in response.content


def test_the_place_it_names_answers_with_the_state_of_the_job(
    rf: RequestFactory, user: Any
) -> None:
    result = add.using(owner=user).enqueue(1, 2)
    place = accepted(rf.post("/orders/"), result)["Location"]
    waiting = browser(user).get(place)
    facts = waiting.json()
    assert len(facts.pop("version")) == 16
    assert facts == {
        "id": result.id,
        "state": "queued",
        "label": "Queued",
        "status": "READY",
        "progress": None,
        "result": None,
        "error": "",
        "error_code": "",
        "waits": None,
        "finished": False,
    }
    assert int(waiting["Retry-After"]) > 0
    assert "no-store" in waiting["Cache-Control"]
    run_jobs()
    done = browser(user).get(place)
    assert (done.json()["state"], done.json()["result"], done.json()["finished"]) == (
        "succeeded",
        3,
        True,
    )
    assert "Retry-After" not in done


def test_a_job_that_runs_tells_its_progress(user: Any) -> None:
    job = add.using(owner=user).enqueue(1, 2).job
    Job.objects.update(
        state="running", progress_done=3, progress_total=10, progress_message="row 3"
    )
    answer = browser(user).get(f"/jobs/{job.pk}/").json()
    assert answer["status"] == "RUNNING"
    assert answer["progress"] == {"done": 3, "total": 10, "message": "row 3"}


def test_the_owner_of_an_expired_job_reads_that_in_any_language(user: Any) -> None:
    job = add.using(owner=user, expires=60).enqueue(1, 2).job
    Job.objects.update(expires_at=clock.now())
    assert run_jobs() == []
    answer = browser(user).get(f"/jobs/{job.pk}/").json()
    assert (answer["state"], answer["finished"]) == ("cancelled", True)
    assert answer["error_code"] == "expired"
    assert answer["error"] == "It expired: it had not begun in time."
    with translation.override("de"):
        german = browser(user).get(f"/jobs/{job.pk}/").json()
    assert german["error"].startswith("Sie ist abgelaufen")


def test_the_owner_of_a_failed_job_reads_no_insides_of_the_site(user: Any) -> None:
    job = fail.using(owner=user).enqueue("password=secret").job
    run_jobs()
    response = browser(user).get(f"/jobs/{job.pk}/")
    assert response.json()["error"] == "It failed."
    assert "secret" not in response.text


ENDS: dict[str, tuple[Exception, str, str, str]] = {
    "words of GiveUp": (GiveUp("No column: price."), "give_up", "No column: price.", ""),
    "GiveUp of ours": (
        GiveUp.of("no_longer_allowed"), "no_longer_allowed",
        "Who asked for this may not do it any more.", "Wer dies verlangt hat, darf es nicht mehr.",
    ),
    "GiveUp without words": (GiveUp(), "give_up", "It failed.", "Es ist gescheitert."),
    "timeout": (
        JobTimeout.of("timeout", seconds=5), "timeout", "It took too long.",
        "Es hat zu lange gedauert.",
    ),
    "exception": (ValueError("GiveUp: x"), "exception", "It failed.", "Es ist gescheitert."),
    "unknown effect": (
        EffectUnknown.of("effect_unknown", key="'k'"), "effect_unknown", "It failed.",
        "Es ist gescheitert.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "code", "english", "german"), ENDS.values(), ids=ENDS)
def test_the_owner_of_a_failed_job_reads_what_is_meant_for_people(
    user: Any, error: Exception, code: str, english: str, german: str
) -> None:
    failure = failure_of(error)
    job = make_job("failed", owner=user, **Outcome(Transition.FAIL, failure=failure).error_columns)
    place = f"/jobs/{job.pk}/"
    status = browser(user).get(place).json()
    assert (status["error"], status["error_code"]) == (english, code)
    with translation.override("de"):
        status = browser(user).get(place).json()
    assert (status["error"], status["error_code"]) == (german or english, code)


def test_an_operator_reads_the_failure_in_its_own_language(admin_client: Client) -> None:
    job = make_job("failed", error="crash", error_code="process_exited", error_params={"code": 9})
    with translation.override("de"):
        status = admin_client.get(f"/jobs/{job.pk}/").json()
    assert status["error"] == "Absturz: Der Prozess endete mit dem Code 9."
    assert status["error_code"] == "process_exited"


def test_the_owner_of_a_job_that_is_tried_again_is_told_of_no_failure(user: Any) -> None:
    job = make_job("scheduled", owner=user, error="ValueError: x", error_code="exception")
    status = browser(user).get(f"/jobs/{job.pk}/").json()
    assert (status["error"], status["error_code"]) == ("", "")


def test_an_operator_reads_the_failure_in_one_line_and_without_a_traceback(
    admin_client: Client,
) -> None:
    job = fail.enqueue("<script>").job
    run_jobs()
    response = admin_client.get(f"/jobs/{job.pk}/")
    assert response.json()["error"] == "ValueError: <script>"
    assert "Traceback" not in response.text
    assert response["Content-Type"] == "application/json"


def test_a_job_that_is_not_there_is_404(user: Any) -> None:
    assert browser(user).get(f"/jobs/{uuid4()}/").status_code == 404
    assert browser(user).get("/jobs/1/").status_code == 404


@pytest.mark.parametrize(
    ("is_staff", "permitted", "status"),
    [(True, True, 200), (True, False, 404), (False, True, 404)],
)
def test_staff_sees_every_job_if_it_may_view_jobs(
    django_user_model: Any, is_staff: bool, permitted: bool, status: int
) -> None:
    person = django_user_model.objects.create_user("eve", is_staff=is_staff)
    if permitted:
        person.user_permissions.add(Permission.objects.get(codename="view_job"))
    assert browser(person).get(f"/jobs/{add.enqueue(1, 2).id}/").status_code == status


def test_the_state_of_a_job_is_only_read(user: Any) -> None:
    job = add.using(owner=user).enqueue(1, 2).job
    assert browser(user).post(f"/jobs/{job.pk}/").status_code == 405


@refuse_when_full
def order(request: Any, number: int) -> HttpResponse:
    """A view of a site."""
    return accepted(request, add.enqueue(number, 2))


def test_a_full_queue_is_a_503_that_says_when_to_come_back(
    rf: RequestFactory, settings: Settings
) -> None:
    options = {"max_depth": 1}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    request = rf.post("/orders/")
    request.user = AnonymousUser()
    assert order(request, 1).status_code == 202
    refused = order(request, 2)
    assert refused.status_code == 503
    assert int(refused["Retry-After"]) == 30
    assert Job.objects.count() == 1
