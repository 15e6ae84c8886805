"""Who did what: by hand in the admin, on the site, by a command, or by a job for a person."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_bgtasks import cancel_job, retry_job, status_url, testing
from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.jobs.actions import delete_jobs
from django_bgtasks.ledger.history import Actor
from django_bgtasks.models import HistoryEntry, Job
from django_bgtasks.worker.maintenance import prune

from .commands import run
from .rows import make_job, make_record

pytestmark = pytest.mark.django_db
HISTORY = "/admin/django_bgtasks/historyentry/"
LIST = "/admin/django_bgtasks/job/"


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with testing.without_redis():
        yield


def history() -> list[tuple[str, str, str]]:
    return list(HistoryEntry.objects.order_by("pk").values_list("verb", "via", "queue"))


@pytest.fixture
def as_anna(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell's user is anna, who became root by sudo."""
    monkeypatch.setenv("SUDO_USER", "anna")


def test_each_command_writes_down_who_ran_it(as_anna: None) -> None:
    failed, queued = make_job(State.FAILED), make_job(State.QUEUED, queue="emails")
    old = clock.now() - timedelta(days=400)
    make_job(State.SUCCEEDED, pk=clock.id_floor(old), finished_at=old)
    run("bgretry", failed.pk)
    run("bgcancel", queued.pk)
    run("bgpause", "emails")
    run("bgpause", "emails")
    run("bgresume", "emails")
    run("bgprune")
    assert history() == [
        ("retried", "bgretry", "default"),
        ("cancelled", "bgcancel", "emails"),
        ("paused", "bgpause", "emails"),
        ("resumed", "bgresume", "emails"),
        ("pruned", "bgprune", ""),
    ]
    assert HistoryEntry.objects.latest("pk").detail == "1 row"
    assert all(entry.by.startswith("anna@") for entry in HistoryEntry.objects.all())
    assert [entry.job for entry in HistoryEntry.objects.order_by("pk")][:2] == [
        failed.pk,
        queued.pk,
    ]


def test_without_sudo_it_is_the_user_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    run("bgretry", make_job(State.FAILED).pk)
    assert HistoryEntry.objects.get().by.startswith(f"{getpass.getuser()}@")


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    run("bgretry", make_job(State.FAILED).pk)
    assert HistoryEntry.objects.get().by.startswith(f"{os.getuid()}@")


def test_what_was_refused_or_only_shown_is_not_in_the_history() -> None:
    done = make_job(State.SUCCEEDED)
    run("bgretry", "--all", "--dry-run")
    with pytest.raises(CommandError, match="1 job refused"):
        run("bgretry", done.pk)
    run("bgprune")
    assert history() == []


def test_the_code_of_a_site_writes_nothing_unless_it_says_who() -> None:
    silent, named = make_job(State.FAILED), make_job(State.FAILED)
    retry_job(silent.pk)
    retry_job(named.pk, by="anna")
    [entry] = HistoryEntry.objects.all()
    assert (entry.job, entry.by, entry.via) == (named.pk, "anna", "site")


def test_many_deletions_are_written_down_by_one_statement() -> None:
    jobs = [make_job(State.FAILED) for _ in range(50)]
    with CaptureQueriesContext(connection) as captured:
        delete_jobs({job.pk: job.state for job in jobs}, by=Actor("anna", "admin"))
    inserts = [q["sql"] for q in captured if q["sql"].startswith("INSERT")]
    assert len(inserts) == 1
    assert HistoryEntry.objects.filter(verb="deleted", by="anna").count() == 50


def test_one_page_lists_what_everybody_did(admin_client: Client, as_anna: None) -> None:
    failed, other = make_job(State.FAILED), make_job(State.FAILED, task="shop.tasks.other")
    admin_client.post(f"{LIST}{failed.pk}/retry/")
    run("bgretry", other.pk)
    run("bgpause", "emails")
    html = admin_client.get(HISTORY).content.decode()
    for text in ("in the admin", "bgretry", "anna@", "retried", "paused", "queue emails"):
        assert text in html
    assert f"{LIST}{failed.pk}/change/" in html
    for term, number in (("anna", 2), ("admin", 1), ("emails", 1), (str(other.pk), 1), ("x", 0)):
        found = admin_client.get(HISTORY, {"q": term}).context["cl"].result_list
        assert len(found) == number, term


def test_the_page_of_a_job_tells_what_was_done_to_it(admin_client: Client) -> None:
    job = make_job(State.FAILED)
    page = f"{LIST}{job.pk}/change/"
    assert 'id="bgtasks-history"' not in admin_client.get(page).content.decode()
    admin_client.post(f"{LIST}{job.pk}/retry/")
    html = admin_client.get(page).content.decode()
    assert "retried" in html.split('id="bgtasks-history"')[1]
    response = admin_client.get(f"{LIST}{job.pk}/history/")
    assert response.headers["Location"] == f"{page}#bgtasks-history"


def test_the_history_has_its_own_permission_and_nobody_changes_it(
    staff: Callable[..., Client], admin_client: Client
) -> None:
    admin_client.post(f"{LIST}{make_job(State.FAILED).pk}/retry/")
    entry = HistoryEntry.objects.get()
    assert admin_client.post(f"{HISTORY}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{HISTORY}add/").status_code == 403
    client = staff("view_job")
    assert client.get(HISTORY).status_code == 403


def test_an_entry_outlives_its_job_and_is_deleted_when_it_is_old() -> None:
    job = make_job(State.FAILED)
    delete_jobs({job.pk: job.state}, by="anna")
    assert HistoryEntry.objects.get().task == job.task
    assert not Job.objects.exists()
    prune.run_once("default")
    assert HistoryEntry.objects.exists()
    old: Any = clock.now() - prune.HISTORY_KEPT - timedelta(minutes=1)
    HistoryEntry.objects.update(at=old)
    prune.run_once("default")
    assert not HistoryEntry.objects.exists()


def test_who_cancels_on_the_site_is_in_the_history(client: Client, django_user_model: Any) -> None:
    ada = django_user_model.objects.create_user("ada")
    client.force_login(ada)
    job = make_job(State.QUEUED, owner=ada)
    client.post(status_url(job.pk, view="job-cancel"))
    assert history() == [("cancelled", "site", "default")]
    assert client.get(status_url(job.pk)).json()["error"] == "You cancelled it."


def test_an_owner_did_not_cancel_what_somebody_else_has(
    client: Client, django_user_model: Any, as_anna: None
) -> None:
    ada = django_user_model.objects.create_user("ada")
    client.force_login(ada)
    job, unknown = make_job(owner=ada), make_job(State.CANCELLED, owner=ada)
    run("bgcancel", job.pk)
    for each in (job, unknown):
        facts = client.get(status_url(each.pk)).json()
        assert (facts["state"], facts["error"]) == ("cancelled", "")


def test_to_forget_a_record_is_in_the_history_with_its_key(admin_client: Client) -> None:
    records = [make_record(key=f"charge:{number}") for number in range(3)]
    place = "/admin/django_bgtasks/idempotencyrecord/"
    admin_client.post(f"{place}{records[0].pk}/delete/", {"post": "yes"})
    chosen = [str(record.pk) for record in records[1:]]
    data = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    admin_client.post(place, data)
    entries = HistoryEntry.objects.order_by("pk").values_list("verb", "by", "detail")
    assert sorted(entries) == [("forgotten", "admin", f"charge:{number}") for number in range(3)]
    assert "charge:1" in admin_client.get(HISTORY).content.decode()


def test_a_cancelled_job_says_who_cancelled_it(
    admin_client: Client, django_user_model: Any, as_anna: None
) -> None:
    own, other, running = make_job(), make_job(), make_job(State.RUNNING)
    admin_client.post(f"{LIST}{own.pk}/cancel/")
    admin_client.post(f"{LIST}{running.pk}/cancel/", {"bgtasks_confirmed": "yes"})
    cancelled = {"error": "JobCancelled: …", "error_code": "cancelled", "finished_at": clock.now()}
    Job.objects.filter(pk=running.pk).update(state=State.CANCELLED, **cancelled)
    run("bgcancel", other.pk)
    nobody = make_job(State.CANCELLED, error="JobCancelled: …", error_code="cancelled")
    for job, words in ((own, "You cancelled it."), (running, "You cancelled it.")):
        assert words in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    page = admin_client.get(f"{LIST}{other.pk}/change/").content.decode()
    assert re.search(r"anna@\S+ cancelled it", page)
    assert "cancelled it" not in admin_client.get(f"{LIST}{nobody.pk}/change/").content.decode()
    listed = admin_client.get(LIST).content.decode()
    assert listed.count(">You cancelled it.<") == 2
    Job.objects.filter(pk=own.pk).update(state=State.QUEUED, finished_at=None)
    assert "cancelled it" not in admin_client.get(f"{LIST}{own.pk}/change/").content.decode()


def cancelled_an_hour_ago(name: str, state: str = State.QUEUED) -> Job:
    """A job that this person cancelled, or asked to stop."""
    job = make_job(state)
    cancel_job(job.pk, by=name)
    hour = timedelta(hours=1)
    HistoryEntry.objects.filter(job=job.pk).update(at=F("at") - hour)
    Job.objects.filter(pk=job.pk).update(cancel_requested_at=F("cancel_requested_at") - hour)
    return job


@pytest.mark.parametrize("retried_by", ["bob", None])
@pytest.mark.parametrize("due", [None, timedelta(hours=1)])
def test_who_cancelled_a_job_before_it_was_retried_did_not_cancel_it_again(
    admin_client: Client, retried_by: str | None, due: timedelta | None
) -> None:
    job = cancelled_an_hour_ago("alice")
    assert "alice cancelled it" in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    retry_job(job.pk, by=retried_by)
    if due:
        # It failed again, and waits for its next attempt.
        Job.objects.filter(pk=job.pk).update(state=State.SCHEDULED, run_after=clock.now() + due)
    cancel_job(job.pk)
    assert "cancelled it" not in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert "cancelled it" not in admin_client.get(LIST).content.decode()
    retry_job(job.pk)
    cancel_job(job.pk, by="carol")
    assert "carol cancelled it" in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()


def test_a_job_that_ended_itself_as_cancelled_was_cancelled_by_nobody(admin_client: Client) -> None:
    job = cancelled_an_hour_ago("alice")
    retry_job(job.pk)
    Job.objects.filter(pk=job.pk).update(state=State.CANCELLED, finished_at=clock.now())
    assert "cancelled it" not in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()


def test_who_asked_a_job_to_stop_cancelled_it_also_if_the_site_asks_again(
    admin_client: Client,
) -> None:
    job = cancelled_an_hour_ago("alice", State.RUNNING)
    cancel_job(job.pk)
    Job.objects.filter(pk=job.pk).update(state=State.CANCELLED, finished_at=clock.now())
    assert "alice cancelled it" in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
