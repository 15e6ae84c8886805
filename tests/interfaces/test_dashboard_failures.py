"""The kinds of failure on the dashboard, and what is done to all jobs of one kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client

from django_bgtasks.core import clock
from django_bgtasks.models import HistoryEntry, Job
from django_bgtasks.testing import run_jobs

from .rows import make_attempt, make_job, make_worker

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
DASHBOARD = "/admin/django_bgtasks/dashboard/"
FAILURES = f"{DASHBOARD}failures/"
PAY = "shop.tasks.pay"
KIND = {"task": PAY, "error": "OSError", "finished": "day", "backend": "default"}
YES = {"bgtasks_confirmed": "yes"}


def fail_jobs(count: int, error: str = "OSError", **fields: Any) -> list[Job]:
    jobs = [make_job("failed", attempt=1, **{"task": PAY, **fields}) for _number in range(count)]
    for job in jobs:
        make_attempt(job, exception_class=error, finished_at=job.finished_at)
    return jobs


def states(jobs: list[Job]) -> set[str]:
    return set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("state", flat=True))


def test_all_jobs_of_one_kind_are_retried_in_two_clicks_and_no_others(admin_client: Client) -> None:
    make_worker()
    own = fail_jobs(3)
    others = [
        *fail_jobs(1, "KeyError"),
        *fail_jobs(1, task="shop.tasks.other"),
        *fail_jobs(1, finished_at=clock.now() - timedelta(days=3)),
    ]
    html = admin_client.get(DASHBOARD).content.decode()
    assert f'action="{FAILURES}"' in html
    question = admin_client.post(FAILURES, {**KIND, "action": "retry"})
    assert "Retry: 3 jobs that failed by this error" in question.content.decode()
    assert states([*own, *others]) == {"failed"}
    answer = admin_client.post(FAILURES, {**KIND, **YES, "action": "retry"}, follow=True)
    assert "3 jobs will run again." in answer.content.decode()
    assert answer.redirect_chain[0][0].startswith(DASHBOARD)
    assert (states(own), states(others)) == ({"queued"}, {"failed"})
    entries = HistoryEntry.objects.filter(job__in=[job.pk for job in own])
    assert set(entries.values_list("verb", "by")) == {("retried", "admin")}
    assert entries.count() == 3


def test_all_jobs_of_one_kind_are_deleted_after_a_warning(admin_client: Client) -> None:
    own, others = fail_jobs(2), fail_jobs(1, "KeyError")
    question = admin_client.post(FAILURES, {**KIND, "action": "delete"}).content.decode()
    assert "This cannot be undone." in question
    assert "Delete: 2 jobs" in question
    answer = admin_client.post(FAILURES, {**KIND, **YES, "action": "delete"}, follow=True)
    assert "2 jobs were deleted." in answer.content.decode()
    assert (states(own), states(others)) == (set(), {"failed"})
    assert HistoryEntry.objects.filter(verb="deleted", by="admin").count() == 2


def test_a_kind_is_by_its_code_where_nobody_raised_an_exception(admin_client: Client) -> None:
    killed = make_job("failed", task=PAY, attempt=1)
    make_attempt(killed, outcome="timeout", code="timeout_killed", params={"seconds": "60"})
    raised = fail_jobs(1)
    kind = {**KIND, "error": "timeout_killed", "action": "retry"}
    admin_client.post(FAILURES, {**kind, **YES})
    assert (states([killed]), states(raised)) == ({"queued"}, {"failed"})


def test_many_jobs_are_left_to_a_background_job(admin_client: Client) -> None:
    own = fail_jobs(201)
    question = admin_client.post(FAILURES, {**KIND, "action": "retry"}).content.decode()
    assert "Retry: 201 jobs" in question
    assert "a background job goes through them" in question
    answer = admin_client.post(FAILURES, {**KIND, **YES, "action": "retry"})
    bulk = Job.objects.get(task__endswith="apply_to_matching")
    assert str(bulk.pk) in answer["Location"]
    run_jobs()
    bulk.refresh_from_db()
    assert bulk.result == {"retried": 201}
    assert "failed" not in states(own[:1])


def test_on_the_page_of_a_queue_the_buttons_are_about_this_queue_only(admin_client: Client) -> None:
    here, there = fail_jobs(2, queue="emails"), fail_jobs(3, queue="reports")
    page = f"{DASHBOARD}queue/?name=emails&backend=default"
    html = admin_client.get(page).content.decode()
    assert '<input type="hidden" name="queue" value="emails">' in html
    assert "2 jobs have failed in the last 24 h" in html
    kind = {**KIND, "queue": "emails", "kind": "queue", "name": "emails", "action": "retry"}
    assert "Retry: 2 jobs" in admin_client.post(FAILURES, kind).content.decode()
    answer = admin_client.post(FAILURES, {**kind, **YES})
    assert answer["Location"].startswith(f"{DASHBOARD}queue/?name=emails")
    assert (states(here), states(there)) == ({"queued"}, {"failed"})


@pytest.mark.parametrize("action", ["retry", "delete"])
@pytest.mark.parametrize(
    "permissions",
    [
        ("view_dashboard", "view_job"),
        ("view_dashboard", "retry_job", "delete_job"),
        ("view_job", "retry_job", "delete_job"),
    ],
)
def test_who_may_not_do_it_has_no_button_and_is_refused(
    staff: Callable[..., Client], action: str, permissions: tuple[str, ...]
) -> None:
    jobs, client = fail_jobs(2), staff(*permissions)
    assert client.post(FAILURES, {**KIND, **YES, "action": action}).status_code == 403
    assert FAILURES not in client.get(DASHBOARD).content.decode()
    assert states(jobs) == {"failed"}


@pytest.mark.parametrize("action", ["retry", "delete"])
def test_each_button_has_the_permission_of_its_action(
    staff: Callable[..., Client], action: str
) -> None:
    jobs, client = fail_jobs(2), staff("view_dashboard", "view_job", f"{action}_job")
    html = client.get(DASHBOARD).content.decode()
    assert re.findall(r'name="action" value="(\w+)"', html) == [action]
    assert client.post(FAILURES, {**KIND, **YES, "action": action}).status_code == 302
    assert states(jobs) != {"failed"}


def test_what_is_no_kind_of_failure_is_refused(admin_client: Client) -> None:
    jobs = fail_jobs(1)
    assert admin_client.get(FAILURES).status_code == 405
    for wrong in ({"action": "cancel"}, {"action": ""}, {"task": ""}, {"error": ""}):
        data = {**KIND, **YES, "action": "retry", **wrong}
        assert admin_client.post(FAILURES, data).status_code == 400
    for wrong in ({"finished": "long ago"}, {"error": "a\0b"}, {"finished": "2..1"}):
        data = {**KIND, **YES, "action": "retry", **wrong}
        answer = admin_client.post(FAILURES, data, follow=True)
        assert "There are no such jobs any more." in answer.content.decode()
    assert states(jobs) == {"failed"}


def test_the_list_behind_a_kind_has_as_many_jobs_as_it_says(admin_client: Client) -> None:
    make_worker()
    fail_jobs(3)
    fail_jobs(2, "KeyError")
    html = unescape(admin_client.get(DASHBOARD).content.decode())
    url = f"/admin/django_bgtasks/job/?state=failed&task={PAY}&error=OSError&finished=day"
    assert f'href="{url}"' in html
    assert "3 jobs" in admin_client.get(url).content.decode()


def test_after_a_wave_of_retries_the_kinds_are_still_whole(admin_client: Client) -> None:
    make_worker()
    for job in fail_jobs(2):
        Job.objects.filter(pk=job.pk).update(attempt=2)
        make_attempt(job, attempt=2, exception_class="OSError")
    html = admin_client.get(DASHBOARD).content.decode()
    assert "Failures in the last 24 h" in html
    row = html[html.index(f'data-key="{PAY} OSError"') :].partition("</tr>")[0]
    assert 'data-label="Still failed"><a' in row
    assert ">2</a>" in row
    assert 'data-label="Attempts">4<' in row
