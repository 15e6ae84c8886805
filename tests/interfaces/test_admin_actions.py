"""The moves in the admin: who may make them, what they do, and what is written down."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from django.contrib import messages
from django.test import Client

from django_bgtasks import testing
from django_bgtasks.core.dedup import slot_of
from django_bgtasks.core.states import State
from django_bgtasks.models import HistoryEntry, Job

from .rows import make_attempt, make_job, make_record

pytestmark = pytest.mark.django_db
Staff = Callable[..., Client]

LIST = "/admin/django_bgtasks/job/"
RECORD_LIST = "/admin/django_bgtasks/idempotencyrecord/"
RECORDS = ("view_idempotencyrecord", "delete_idempotencyrecord")


class Case(NamedTuple):
    """A move: where it is made, who may, from which state to which, what is told and logged."""

    action: str
    button: str
    permission: str
    state: State
    becomes: State
    message: str
    logged: str


RETRY = Case(
    "retry_selected",
    "retry",
    "retry_job",
    State.FAILED,
    State.QUEUED,
    "1 job will run again.",
    "retried",
)
RUN_NOW = Case(
    "run_now_selected",
    "run-now",
    "run_job_now",
    State.SCHEDULED,
    State.QUEUED,
    "1 job will run as soon as a worker is free.",
    "run_now",
)
CANCEL = Case(
    "cancel_selected",
    "cancel",
    "cancel_job",
    State.QUEUED,
    State.CANCELLED,
    "1 job was cancelled.",
    "cancelled",
)
CASES = [RETRY, RUN_NOW, CANCEL]
each_move = pytest.mark.parametrize("move", CASES, ids=[case.button for case in CASES])


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with testing.without_redis():
        yield


def select(client: Client, action: str, *jobs: Job, **more: Any) -> str:
    """Run an action of the list on these jobs; the page that follows."""
    data = {"action": action, "_selected_action": [str(job.pk) for job in jobs], "index": 0}
    response = client.post(LIST, {**data, **more}, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def press(client: Client, name: str, job: Job, **data: str) -> Any:
    return client.post(f"{LIST}{job.pk}/{name}/", data, follow=True)


def state_of(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


@each_move
def test_an_action_of_the_list_moves_the_job_tells_and_logs_it(staff: Staff, move: Case) -> None:
    job, client = make_job(move.state), staff("view_job", move.permission)
    assert move.message in select(client, move.action, job)
    assert state_of(job) == move.becomes
    [entry] = HistoryEntry.objects.all()
    assert (entry.job, entry.task, entry.by, entry.via) == (job.pk, job.task, "staff", "admin")
    assert entry.verb == move.logged


@each_move
def test_a_button_moves_the_job_tells_and_logs_it(staff: Staff, move: Case) -> None:
    job, client = make_job(move.state), staff("view_job", move.permission)
    page = client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert f'action="{LIST}{job.pk}/{move.button}/"' in page
    response = press(client, move.button, job)
    assert response.redirect_chain == [(f"{LIST}{job.pk}/change/", 302)]
    assert move.message in response.content.decode()
    assert state_of(job) == move.becomes
    assert move.logged == HistoryEntry.objects.get().verb


@each_move
def test_without_its_permission_a_move_is_neither_offered_nor_made(
    staff: Staff, move: Case
) -> None:
    others = {"retry_job", "cancel_job", "run_job_now", "delete_job"} - {move.permission}
    job, client = make_job(move.state), staff("view_job", *others)
    assert f'value="{move.action}"' not in client.get(LIST).content.decode()
    assert f"/{move.button}/" not in client.get(f"{LIST}{job.pk}/change/").content.decode()
    select(client, move.action, job)
    assert press(client, move.button, job).status_code == 403
    assert state_of(job) == move.state
    assert not HistoryEntry.objects.exists()


@each_move
def test_who_may_not_see_jobs_may_not_move_them(staff: Staff, move: Case) -> None:
    job, client = make_job(move.state), staff(move.permission)
    assert press(client, move.button, job).status_code == 403
    data = {"action": move.action, "_selected_action": [str(job.pk)], "index": 0}
    assert client.post(LIST, data).status_code == 403
    assert state_of(job) == move.state


@each_move
def test_a_get_changes_nothing(admin_client: Client, move: Case) -> None:
    job = make_job(move.state)
    assert admin_client.get(f"{LIST}{job.pk}/{move.button}/").status_code == 405
    admin_client.get(f"{LIST}?action={move.action}&_selected_action={job.pk}&index=0")
    assert state_of(job) == move.state
    assert not HistoryEntry.objects.exists()


@each_move
def test_a_post_from_another_site_changes_nothing(django_user_model: Any, move: Case) -> None:
    job, client = make_job(move.state), Client(enforce_csrf_checks=True)
    client.force_login(django_user_model.objects.create_superuser("root"))
    assert client.post(f"{LIST}{job.pk}/{move.button}/").status_code == 403
    assert state_of(job) == move.state


@each_move
def test_a_stranger_is_sent_to_the_login(client: Client, move: Case) -> None:
    job = make_job(move.state)
    assert "/login/" in client.post(f"{LIST}{job.pk}/{move.button}/").headers["Location"]
    assert state_of(job) == move.state


def test_a_button_is_only_there_where_the_state_allows_it(admin_client: Client) -> None:
    offered = {
        State.SCHEDULED: {"run-now", "cancel"},
        State.QUEUED: {"cancel"},
        State.RUNNING: {"cancel"},
        State.SUCCEEDED: set(),
        State.FAILED: {"retry"},
        State.CANCELLED: {"retry"},
    }
    for state, names in offered.items():
        job = make_job(state)
        page = admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
        assert {case.button for case in CASES if f"/{job.pk}/{case.button}/" in page} == names


def test_some_are_done_and_the_others_are_refused_with_the_reason(admin_client: Client) -> None:
    failed = [make_job(State.FAILED) for _ in range(3)]
    done = make_job(State.SUCCEEDED)
    html = select(admin_client, "retry_selected", *failed, done)
    assert "3 jobs will run again." in html
    assert f"1 job was refused: Job {done.pk} is succeeded" in html
    assert HistoryEntry.objects.count() == 3


def test_many_refusals_are_summed_up(admin_client: Client) -> None:
    jobs = [make_job(State.SUCCEEDED) for _ in range(8)]
    html = select(admin_client, "retry_selected", *jobs)
    assert "8 jobs were refused:" in html
    assert "and 3 more" in html


def test_a_retry_says_which_live_job_holds_the_key(admin_client: Client) -> None:
    failed = make_job(State.FAILED, dedup_key="order:7", dedup_scope="live")
    slot = slot_of(failed.task, "order:7")
    holder = make_job(State.QUEUED, dedup_key="order:7", dedup_slot=slot, dedup_scope="live")
    html = press(admin_client, "retry", failed).content.decode()
    assert str(holder.pk) in html
    assert "order:7" in html
    assert state_of(failed) == State.FAILED
    assert not HistoryEntry.objects.exists()


def test_a_running_job_is_asked_to_stop_once_that_is_confirmed(staff: Staff) -> None:
    job, client = make_job(State.RUNNING), staff("view_job", "cancel_job")
    response = press(client, "cancel", job)
    assert (response.status_code, response.redirect_chain) == (200, [])
    assert "that cannot be undone" in response.content.decode()
    job.refresh_from_db()
    assert (job.cancel_requested_at, HistoryEntry.objects.count()) == (None, 0)
    html = press(client, "cancel", job, bgtasks_confirmed="yes").content.decode()
    assert "it was asked to stop" in html
    job.refresh_from_db()
    assert job.cancel_requested_at is not None
    assert "asked to stop" in client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert HistoryEntry.objects.get().verb == "asked_to_stop"


def test_selected_jobs_are_cancelled_once_the_end_of_the_running_ones_is_confirmed(
    staff: Staff,
) -> None:
    jobs = [make_job(state) for state in (State.RUNNING, State.QUEUED, State.QUEUED)]
    client = staff("view_job", "cancel_job")
    html = select(client, "cancel_selected", *jobs)
    assert "Cancel the selected jobs? 1 of them is running." in html
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)">', html)
    answer = {name: [v for n, v in fields if n == name] for name, _ in fields}
    assert set(answer) >= {"action", "_selected_action", "bgtasks_confirmed"}
    assert [state_of(job) for job in jobs] == ["running", "queued", "queued"]
    html = client.post(LIST, answer, follow=True).content.decode()
    assert "2 jobs were cancelled." in html
    assert "1 job is running: it was asked to stop." in html
    assert HistoryEntry.objects.count() == 3


def test_a_job_that_is_gone_is_said_to_be_gone(admin_client: Client) -> None:
    job = make_job(State.FAILED)
    pk = job.pk
    job.delete()
    response = admin_client.post(f"{LIST}{pk}/retry/", follow=True)
    assert f"Job {pk} no longer exists." in response.content.decode()


def test_a_move_from_a_filtered_list_returns_to_it(admin_client: Client) -> None:
    job = make_job(State.FAILED)
    query = "?_changelist_filters=state%3Dfailed"
    page = admin_client.get(f"{LIST}{job.pk}/change/{query}").content.decode()
    assert f'action="{LIST}{job.pk}/retry/{query}"' in page
    response = admin_client.post(f"{LIST}{job.pk}/retry/{query}")
    assert response.headers["Location"] == f"{LIST}{job.pk}/change/{query}"


def test_delete_asks_and_then_deletes_with_the_attempts(staff: Staff) -> None:
    job, client = make_job(State.FAILED), staff("view_job", "delete_job")
    make_attempt(job)
    assert "Are you sure" in client.get(f"{LIST}{job.pk}/delete/").content.decode()
    assert Job.objects.exists()
    client.post(f"{LIST}{job.pk}/delete/", {"post": "yes"})
    assert not Job.objects.exists()
    assert HistoryEntry.objects.get().verb == "deleted"


def test_delete_needs_its_permission(staff: Staff) -> None:
    job, client = make_job(State.FAILED), staff("view_job", "retry_job")
    assert client.post(f"{LIST}{job.pk}/delete/", {"post": "yes"}).status_code == 403
    select(client, "delete_selected", job, post="yes")
    assert Job.objects.exists()


def test_a_running_job_is_not_deleted(admin_client: Client) -> None:
    job = make_job(State.RUNNING)
    page = admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert f"{LIST}{job.pk}/delete/" not in page
    response = admin_client.post(f"{LIST}{job.pk}/delete/", {"post": "yes"}, follow=True)
    assert f"Job {job.pk} is running: cancel it first" in response.content.decode()
    assert Job.objects.exists()
    assert not HistoryEntry.objects.exists()


def test_deleting_several_leaves_the_running_ones(admin_client: Client) -> None:
    running, failed = make_job(State.RUNNING), make_job(State.FAILED)
    assert "Are you sure" in select(admin_client, "delete_selected", running, failed)
    html = select(admin_client, "delete_selected", running, failed, post="yes")
    assert f"Job {running.pk} is running: cancel it first" in html
    assert list(Job.objects.all()) == [running]
    assert HistoryEntry.objects.get().job == failed.pk


@pytest.mark.parametrize(
    ("was", "becomes"), [(State.QUEUED, State.RUNNING), (State.FAILED, State.QUEUED)]
)
def test_a_job_that_starts_or_is_retried_before_its_deletion_stays(
    admin_client: Client, was: State, becomes: State
) -> None:
    from django.contrib import admin

    job = make_job(was)
    loaded = Job.objects.get(pk=job.pk)
    Job.objects.filter(pk=job.pk).update(state=becomes, finished_at=None)
    request = admin_client.get(LIST).wsgi_request
    admin.site.get_model_admin(Job).delete_model(request, loaded)
    assert Job.objects.exists()
    [message] = messages.get_messages(request)
    assert f"Job {job.pk}" in message.message
    assert str(becomes) in message.message


def test_delete_returns_to_the_list_that_it_came_from(staff: Staff) -> None:
    client, record = staff("view_job", "delete_job", *RECORDS), make_record()
    for place, row in ((LIST, make_job(State.FAILED)), (RECORD_LIST, record)):
        query = "?_changelist_filters=state%3Dfailed%26q%3Dx"
        address = f"{place}{row.pk}/delete/{query}"
        response = client.post(address, {"post": "yes"})
        assert response.headers["Location"] == f"{place}?state=failed&q=x"
        *_before, message = messages.get_messages(response.wsgi_request)
        assert f"“{row}” was deleted" in message.message


def for_all(client: Client, query: str) -> set[str]:
    """The actions of the buttons for all that match."""
    html = client.get(f"{LIST}?{query}").content.decode()
    return set(re.findall(r'<input type="hidden" name="action" value="(\w+)">', html))


def test_a_list_of_one_state_has_buttons_for_all_that_match(admin_client: Client) -> None:
    for state in (*State, State.SCHEDULED):
        make_job(state)
    make_job(State.SCHEDULED, attempt=1)
    delete = "delete_selected"
    expected = {
        "": set(),
        "state=failed": {"retry_selected", delete},
        "state=cancelled": {"retry_selected", delete},
        "state=succeeded": {delete},
        "state=running": {"cancel_selected"},
        "state=retrying": {"run_now_selected", "cancel_selected", delete},
        "state=failed&task=none": set(),
    }
    assert {query: for_all(admin_client, query) for query in expected} == expected


def test_the_buttons_for_all_need_the_permission(staff: Staff) -> None:
    make_job(State.FAILED)
    assert for_all(staff("view_job", "cancel_job"), "state=failed") == set()


def test_a_button_for_all_says_how_many_and_takes_these_at_once_when_they_are_few(
    staff: Staff,
) -> None:
    wanted = [make_job(State.FAILED, queue="emails") for _ in range(3)]
    other, client = make_job(State.FAILED), staff("view_job", "retry_job")
    data = {"action": "retry_selected", "select_across": "1", "bgtasks_all": "1", "index": "0"}
    data["_selected_action"] = str(wanted[0].pk)
    address = f"{LIST}?state=failed&queue=emails"
    html = client.post(address, data).content.decode()
    assert "3 jobs match" in html
    assert "background job" not in html
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)">', html))
    assert fields.pop("csrfmiddlewaretoken", "")
    response = client.post(address, fields, follow=True)
    assert "3 jobs will run again." in response.content.decode()
    assert response.redirect_chain == [(address, 302)]
    assert state_of(other) == State.FAILED
