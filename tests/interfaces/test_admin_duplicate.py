"""More than one button: copies with changed arguments, and moves of all jobs that match."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from django_bgtasks import Middleware, Retry, add_middleware, remove_middleware, testing
from django_bgtasks.admin import bulk, selection
from django_bgtasks.core.states import State
from django_bgtasks.jobs.actions import delete_jobs
from django_bgtasks.models import HistoryEntry, Job

from . import tasks
from .rows import make_attempt, make_job

pytestmark = pytest.mark.django_db
Staff = Callable[..., Client]
LIST = "/admin/django_bgtasks/job/"
ADD = "tests.app.tasks.add"
ONE_SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with testing.without_redis():
        yield


def copy(client: Client, job: Job, args: str, kwargs: str = "{}") -> Any:
    data = {"args": args, "kwargs": kwargs}
    return client.post(f"{LIST}{job.pk}/duplicate/", data, follow=True)


def test_a_copy_with_changed_arguments_is_a_new_job_in_the_same_queue(staff: Staff) -> None:
    job = make_job(State.FAILED, task=ADD, args=[1, 2], queue="emails", priority=3)
    client = staff("view_job", "add_job")
    page = client.get(f"{LIST}{job.pk}/duplicate/").content.decode()
    assert "[\n  1,\n  2\n]" in page
    assert "this is the new job" in copy(client, job, "[5, 6]").content.decode()
    made = Job.objects.exclude(pk=job.pk).get()
    assert (made.task, made.args, made.queue, made.priority) == (ADD, [5, 6], "emails", 3)
    assert made.state == State.QUEUED
    [entry] = HistoryEntry.objects.all()
    assert (entry.verb, entry.job, entry.source) == ("duplicated", made.pk, job.pk)


def test_a_copy_has_what_the_job_was_enqueued_with(admin_client: Client) -> None:
    retry = Retry(delays=[1, 2, 3], jitter=0, on=LookupError)
    given = {"timeout": 7.5, "retry": retry, "on_crash": "fail", "label": "for {{ada}}"}
    task = tasks.with_its_order.using(expires=3600, priority=5, queue_name="emails", **given)
    job = Job.objects.get(pk=task.enqueue(1).id)
    copy(admin_client, job, "[2]")
    made = Job.objects.exclude(pk=job.pk).get()
    same = ("timeout", "retry", "max_attempts", "on_crash", "label", "priority", "queue")
    assert [getattr(made, name) for name in same] == [getattr(job, name) for name in same]
    assert (made.label, made.max_attempts, made.retry is None) == ("for {ada}", 4, False)
    assert made.expires_at is not None
    assert made.expires_at - made.enqueued_at == pytest.approx(timedelta(hours=1), abs=ONE_SECOND)
    assert made.enqueued_at >= job.enqueued_at


def test_a_copy_of_what_the_definition_says_has_what_it_says_of_the_new_arguments(
    admin_client: Client,
) -> None:
    job = Job.objects.get(pk=tasks.with_its_order.enqueue(1).id)
    copy(admin_client, job, "[2]")
    made = Job.objects.exclude(pk=job.pk).get()
    assert (job.label, made.label, made.retry) == ("order 1", "order 2", None)
    unlabelled = Job.objects.get(pk=tasks.with_its_order.using(label=None).enqueue(3).id)
    copy(admin_client, unlabelled, "[4]")
    assert Job.objects.get(args=[4]).label == ""


def test_a_copy_carries_what_the_job_carries_and_nothing_of_who_copies_it(
    staff: Staff, settings: Any
) -> None:
    options = {
        **settings.TASKS["default"]["OPTIONS"],
        "carry": ["django_bgtasks.carry.language", "django_bgtasks.carry.user"],
    }
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    client = staff("view_job", "add_job")
    for carried in ('{"language": "fr", "token": "hidden from them"}', None):
        job = make_job(task=ADD, args=[1, 2], carried=carried)
        copy(client, job, "[5, 6]")
        assert Job.objects.latest("id").args == [5, 6]
        assert Job.objects.latest("id").carried == carried


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ("[1]", "{}", "missing a required argument"),
        ("[1, 2]", '{"c": 3}', "got an unexpected keyword argument"),
        ("[1, 2", "{}", "Enter a valid JSON."),
        ("{}", "{}", "This must be a list"),
        ("[1, 2]", "[]", "This must be an object"),
    ],
)
def test_a_call_that_the_task_does_not_take_is_refused(
    admin_client: Client, args: str, kwargs: str, message: str
) -> None:
    job = make_job(task=ADD, args=[1, 2])
    assert message in copy(admin_client, job, args, kwargs).content.decode()
    assert Job.objects.count() == 1


def test_a_copy_whose_key_a_live_job_holds_is_refused_and_leaves_that_job_as_it_is(
    admin_client: Client,
) -> None:
    holder = Job.objects.get(pk=tasks.with_a_lambda.enqueue(1).id)
    replaced = Job.objects.get(pk=tasks.debounced.enqueue(1).id)
    for job, args in ((holder, "[1]"), (replaced, "[2]")):
        page = copy(admin_client, job, args).content.decode()
        assert f"Job {job.pk} holds the dedup key. Nothing was enqueued." in page
        assert "this is the new job" not in page
    replaced.refresh_from_db()
    assert replaced.args == [1]
    assert Job.objects.count() == 2
    assert not HistoryEntry.objects.exists()


@pytest.fixture
def no_tenant() -> Iterator[None]:
    class Refuses(Middleware):
        def on_enqueue(self, jobs: Any) -> None:
            raise LookupError("no tenant")

    refuses = Refuses()
    add_middleware(refuses)
    yield
    remove_middleware(refuses)


@pytest.mark.usefixtures("no_tenant")
def test_a_copy_that_a_middleware_refuses_is_refused_in_the_form(admin_client: Client) -> None:
    job = make_job(task=ADD, args=[1, 2])
    page = copy(admin_client, job, "[5, 6]").content.decode()
    assert "nothing was enqueued: LookupError: no tenant" in page
    assert Job.objects.count() == 1


def test_a_copy_of_whose_arguments_no_label_can_be_made_is_refused_in_the_form(
    admin_client: Client,
) -> None:
    job = Job.objects.get(pk=tasks.with_its_name.enqueue({"name": "tea"}).id)
    page = copy(admin_client, job, "[{}]").content.decode()
    assert "nothing was enqueued: KeyError: &#x27;name&#x27;" in page
    assert Job.objects.count() == 1


def test_a_copy_for_a_full_queue_is_refused(admin_client: Client, settings: Any) -> None:
    job = make_job(task=ADD, args=[1, 2])
    backend = {**settings.TASKS["default"]}
    backend["OPTIONS"] = {**backend.get("OPTIONS", {}), "max_depth": 1}
    settings.TASKS = {**settings.TASKS, "default": backend}
    page = copy(admin_client, job, "[1, 2]").content.decode()
    assert "Queue default is full (max_depth: 1). Nothing was enqueued." in page
    assert Job.objects.count() == 1


def test_an_unknown_task_has_no_copies(admin_client: Client) -> None:
    job = make_job(task="shop.tasks.gone")
    assert "/duplicate/" not in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert copy(admin_client, job, "[]").status_code == 403


def test_masked_arguments_are_not_copied_by_who_may_not_see_them(staff: Staff) -> None:
    job = make_job(task="tests.app.tasks.add", args=[1], kwargs={"password": "x"})
    client = staff("view_job", "add_job")
    assert "/duplicate/" not in client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert copy(client, job, "[1, 2]").status_code == 403


def test_what_was_done_to_all_that_match_is_not_done_again_by_a_copy(
    admin_client: Client, admin_user: Any
) -> None:
    bulk.enqueue_for_all(bulk.ACTIONS["delete"], {"state": "failed"}, admin_user)
    job = Job.objects.get()
    assert "/duplicate/" not in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    call = json.dumps(job.args), json.dumps(job.kwargs)
    assert copy(admin_client, job, *call).status_code == 403
    assert Job.objects.count() == 1


@pytest.mark.parametrize("owner", ["nobody", "staff"])
def test_who_acts_on_all_that_match_is_the_owner_of_the_job_and_no_other(
    staff: Staff, admin_user: Any, django_user_model: Any, owner: str
) -> None:
    failed = make_job(State.FAILED)
    staff("view_job", "add_job")
    bulk.enqueue_for_all(bulk.ACTIONS["delete"], {"state": "failed"}, admin_user)
    person = django_user_model.objects.filter(username=owner).first()
    Job.objects.exclude(pk=failed.pk).update(owner=person)
    testing.run_jobs(["default"])
    assert Job.objects.filter(pk=failed.pk).exists()
    assert not HistoryEntry.objects.exists()


def test_what_somebody_searched_for_is_shown_to_those_only_who_see_what_is_sensitive(
    staff: Staff, admin_client: Client, admin_user: Any
) -> None:
    query = {"q": "searched-for", "state": "failed"}
    bulk.enqueue_for_all(bulk.ACTIONS["delete"], query, admin_user)
    page = f"{LIST}{Job.objects.get().pk}/change/"
    assert "searched-for" not in staff("view_job").get(page).content.decode()
    assert "searched-for" in admin_client.get(page).content.decode()


def matching(client: Client, action: str, job: Job, query: str, **more: str) -> Any:
    data = {"action": action, "select_across": "1", "_selected_action": str(job.pk), **more}
    return client.post(f"{LIST}?{query}", data, follow=True)


def test_all_that_match_are_moved_by_a_job_once_that_is_confirmed(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "PAGE_LIMIT", 2)
    failed = [make_job(State.FAILED, queue="emails") for _ in range(5)]
    other, waits = make_job(State.FAILED), make_job(State.SCHEDULED, queue="emails")
    client = staff("view_job", "retry_job")
    html = matching(client, "retry_selected", failed[0], "queue=emails").content.decode()
    assert "5 jobs match, and this can be done with them." in html
    assert Job.objects.count() == 7
    more = {"bgtasks_confirmed": "yes"}
    matching(client, "retry_selected", failed[0], "queue=emails", **more)
    mover = Job.objects.get(task__endswith="apply_to_matching")
    late = make_job(State.FAILED, queue="emails")
    testing.run_jobs(["default"])
    mover.refresh_from_db()
    assert (mover.state, mover.result) == (State.SUCCEEDED, {"retried": 5})
    assert (mover.progress_done, mover.progress_total) == (5, 5)
    states = dict(Job.objects.values_list("pk", "state"))
    assert {states[job.pk] for job in failed} == {State.QUEUED}
    assert [states[job.pk] for job in (other, late, waits)] == ["failed", "failed", "scheduled"]
    assert HistoryEntry.objects.count() == 5
    page = client.get(f"{LIST}{mover.pk}/change/").content.decode()
    assert f"{LIST}?changed_by={mover.pk}" in page
    listed = client.get(f"{LIST}?changed_by={mover.pk}").context["cl"].result_list
    assert {job.pk for job in listed} == {job.pk for job in failed}
    assert "changed_by" not in client.get(LIST).content.decode()


def test_who_loses_the_permission_meanwhile_moves_nothing(
    staff: Staff, monkeypatch: pytest.MonkeyPatch, django_user_model: Any
) -> None:
    monkeypatch.setattr(selection, "PAGE_LIMIT", 1)
    jobs = [make_job(State.FAILED) for _ in range(3)]
    client = staff("view_job", "retry_job")
    matching(client, "retry_selected", jobs[0], "", bgtasks_confirmed="yes")
    person = django_user_model.objects.get(username="staff")
    person.user_permissions.remove(Permission.objects.get(codename="retry_job"))
    mover = Job.objects.get(task__endswith="apply_to_matching")
    testing.run_jobs(["default"])
    mover.refresh_from_db()
    assert mover.state == State.FAILED
    assert Job.objects.filter(state=State.QUEUED).count() == 0


def test_all_that_match_are_deleted_by_a_job_but_for_those_that_run(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "PAGE_LIMIT", 2)
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 2)
    failed = [make_job(State.FAILED, queue="emails") for _ in range(5)]
    make_attempt(failed[0])
    stay = [make_job(State.RUNNING, queue="emails"), make_job(State.FAILED)]
    client = staff("view_job", "delete_job")
    html = matching(client, "delete_selected", failed[0], "queue=emails").content.decode()
    assert "This cannot be undone. Jobs that are running stay." in html
    assert Job.objects.count() == 7
    more = {"bgtasks_confirmed": "yes"}
    matching(client, "delete_selected", failed[0], "queue=emails", **more)
    deleter = Job.objects.get(task__endswith="apply_to_matching")
    stay.append(make_job(State.FAILED, queue="emails"))
    testing.run_jobs(["default"])
    deleter.refresh_from_db()
    assert (deleter.state, deleter.result) == (State.SUCCEEDED, {"deleted": 5})
    assert (deleter.progress_done, deleter.progress_total) == (5, 5)
    assert set(Job.objects.all()) == {deleter, *stay}
    page = client.get(f"{LIST}{deleter.pk}/change/").content.decode()
    assert f"historyentry/?q={deleter.pk}" in page
    logged = HistoryEntry.objects.filter(verb="deleted", source=deleter.pk)
    assert {entry.job for entry in logged} == {job.pk for job in failed}


def test_who_loses_the_permission_to_delete_meanwhile_deletes_nothing(
    staff: Staff, monkeypatch: pytest.MonkeyPatch, django_user_model: Any
) -> None:
    monkeypatch.setattr(selection, "PAGE_LIMIT", 1)
    jobs = [make_job(State.FAILED) for _ in range(3)]
    client = staff("view_job", "delete_job")
    matching(client, "delete_selected", jobs[0], "", bgtasks_confirmed="yes")
    django_user_model.objects.get(username="staff").user_permissions.clear()
    testing.run_jobs(["default"])
    assert Job.objects.filter(state=State.FAILED).count() == 4


def test_who_may_only_retry_deletes_nothing_that_matches(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "PAGE_LIMIT", 1)
    jobs = [make_job(State.FAILED) for _ in range(3)]
    client = staff("view_job", "retry_job")
    matching(client, "delete_selected", jobs[0], "", bgtasks_confirmed="yes")
    assert Job.objects.count() == 3


def test_a_job_that_starts_before_its_page_of_the_deletion_comes_stays(
    admin_user: Any,
) -> None:
    jobs = [make_job(State.QUEUED) for _ in range(2)]
    Job.objects.filter(pk=jobs[0].pk).update(state=State.RUNNING)
    assert len(delete_jobs({job.pk: job.state for job in jobs}, by=admin_user.username)) == 1
    assert Job.objects.get().pk == jobs[0].pk
    assert HistoryEntry.objects.get().job == jobs[1].pk
