"""An operator at night: finds a failed job and runs it again, cancels another, or may only look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from playwright.sync_api import Page, expect

from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.models import Job
from tests.app.tasks import add, fail, sleep
from tests.interfaces.rows import make_attempt, make_job

from ..waiting import wait_until
from ..workers import WorkerFactory
from .admins import TRACEBACK, ask_for_all, many_jobs

pytestmark = pytest.mark.slow
LIST = "/admin/django_bgtasks/job/"
LogIn = Callable[[User, str], None]


def wait_for_state(job_id: str, state: str) -> None:
    """Wait until the job is in this state."""
    rows = Job.objects.filter(pk=job_id, state=state)
    wait_until(rows.exists, 60, f"job {job_id} to be {state}")


def test_a_failed_job_is_found_read_and_retried(
    wsgi: str, page: Page, boss: User, log_in: LogIn, bgworker: WorkerFactory
) -> None:
    log_in(boss, wsgi)
    bgworker()
    job = fail.enqueue("the disk is full")
    add.enqueue(1, 2)
    wait_for_state(job.id, State.FAILED)
    page.goto(wsgi + LIST)
    page.get_by_role("link", name="Failed", exact=True).click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.get_by_role("link", name="fail tests.app.tasks").click()
    expect(page.locator(".bgtasks-own").first).to_contain_text("raise ValueError(message)")
    expect(page.locator(".bgtasks-traceback")).to_contain_text("the disk is full")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("1 job will run again.")).to_be_visible()
    wait_until(lambda: Job.objects.get(pk=job.id).attempt == 2, 60, "the second attempt")
    wait_for_state(job.id, State.FAILED)
    page.reload()
    expect(page.locator(".bgtasks-timeline > li")).to_have_count(2)


def test_a_running_job_is_cancelled(
    wsgi: str, page: Page, boss: User, log_in: LogIn, bgworker: WorkerFactory
) -> None:
    log_in(boss, wsgi)
    bgworker()
    job = sleep.enqueue(120)
    wait_for_state(job.id, State.RUNNING)
    page.goto(f"{wsgi}{LIST}{job.id}/change/")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("that cannot be undone")).to_be_visible()
    page.get_by_role("link", name="No, take me back").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.get_by_text("1 job is running: it was asked to stop.")).to_be_visible()
    wait_for_state(job.id, State.CANCELLED)
    page.reload()
    expect(page.locator(".field-state_now .bgtasks-is-cancelled")).to_be_visible()


def test_all_that_match_are_deleted_by_a_job_whose_page_shows_its_progress(
    wsgi: str, page: Page, boss: User, log_in: LogIn, bgworker: WorkerFactory
) -> None:
    log_in(boss, wsgi)
    page.goto(wsgi + many_jobs(boss))
    ask_for_all(page)
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.get_by_text("A background job does this.")).to_be_visible()
    deleter = Job.objects.get(task__endswith="apply_to_matching")
    assert str(deleter.pk) in page.url
    bgworker()
    wait_for_state(str(deleter.pk), State.SUCCEEDED)
    page.reload()
    expect(page.locator(".field-progress_bar")).to_contain_text("202 / 202")
    expect(page.locator(".field-pretty_result")).to_contain_text('"deleted": 202')
    assert Job.objects.get() == deleter


def test_a_job_is_duplicated_with_other_arguments_once_they_fit(
    wsgi: str, page: Page, boss: User, log_in: LogIn
) -> None:
    log_in(boss, wsgi)
    job = make_job(State.FAILED, task="tests.app.tasks.add", args=[1, 2])
    page.goto(f"{wsgi}{LIST}{job.pk}/change/")
    page.get_by_role("link", name="Duplicate").click()
    page.get_by_label("Arguments:", exact=True).fill("[1]")
    page.get_by_role("button", name="Enqueue").click()
    expect(page.locator(".errornote, .errorlist")).to_contain_text("missing a required argument")
    page.get_by_label("Arguments:", exact=True).fill("[1, 41]")
    page.get_by_role("button", name="Enqueue").click()
    expect(page.get_by_text("Enqueued: this is the new job.")).to_be_visible()
    assert Job.objects.exclude(pk=job.pk).get().args == [1, 41]


def test_who_may_only_look_sees_no_buttons_and_is_refused(
    wsgi: str, page: Page, ada: User, log_in: LogIn
) -> None:
    ada.is_staff = True
    ada.save()
    ada.user_permissions.set(Permission.objects.filter(codename="view_job"))
    log_in(ada, wsgi)
    job = make_job(State.FAILED, task="tests.app.tasks.add", args=[1, 2])
    page.goto(f"{wsgi}{LIST}{job.pk}/change/")
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    for name in ("Retry", "Cancel", "Run now"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    expect(page.get_by_role("link", name="Duplicate")).to_have_count(0)
    cookie = next(one for one in page.context.cookies() if one["name"] == "csrftoken")
    for path in ("retry", "cancel", "run-now", "duplicate"):
        answer = page.request.post(
            f"{wsgi}{LIST}{job.pk}/{path}/", form={"csrfmiddlewaretoken": cookie["value"]}
        )
        assert answer.status == 403
    assert Job.objects.get().state == State.FAILED


def test_all_failures_of_one_kind_are_retried_with_four_clicks(
    wsgi: str, page: Page, boss: User, log_in: LogIn
) -> None:
    log_in(boss, wsgi)
    for number in range(230):
        kind = "shop.errors.Declined" if number % 2 else "builtins.TimeoutError"
        failed_job(kind, task=f"shop.tasks.t{number % 3}")
    page.goto(wsgi + LIST)
    clicks = [
        page.locator("#changelist-filter").get_by_role("link", name="Failed", exact=True),
        page.locator("#changelist-filter").get_by_role("link", name="shop.errors.Declined"),
        page.get_by_role("button", name="Retry all"),
        page.get_by_role("button", name="Yes, I’m sure"),
    ]
    for place in clicks:
        place.click()
    expect(page.get_by_text("115 jobs will run again.")).to_be_visible()
    assert Job.objects.filter(state=State.QUEUED).count() == 115
    assert Job.objects.filter(state=State.FAILED).count() == 115


def test_the_page_of_a_running_job_follows_it_and_leaves_the_reader_alone(
    wsgi: str, page: Page, boss: User, log_in: LogIn
) -> None:
    log_in(boss, wsgi)
    job = failed_job("builtins.ValueError", attempt=2)
    make_attempt(job, attempt=2, traceback=TRACEBACK, exception_class="builtins.ValueError")
    rows = Job.objects.filter(pk=job.pk)
    rows.update(state=State.RUNNING, finished_at=None, attempt=3, progress_done=1, progress_total=9)
    page.goto(f"{wsgi}{LIST}{job.pk}/change/")
    folded = page.locator("#bgtasks-attempt-2 details").first
    was_open = folded.get_attribute("open") is not None
    folded.locator("summary").first.click()
    folded.locator("summary").first.focus()
    page.evaluate("window.bgtasksUntouched = true")
    rows.update(progress_done=5)
    expect(page.locator(".field-progress_bar")).to_contain_text("5 / 9")
    rows.update(state=State.SUCCEEDED, finished_at=clock.now(), result="done-with-it")
    expect(page.locator(".field-pretty_result")).to_contain_text("done-with-it")
    expect(page.get_by_role("status")).to_have_text("Succeeded")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.get_by_text("keeps itself up to date")).to_have_count(0)
    # It was no new page: what was open or folded is so still, and has the focus.
    assert page.evaluate("window.bgtasksUntouched")
    assert (folded.get_attribute("open") is not None) is not was_open
    focused = "document.activeElement.closest('#bgtasks-attempt-2') !== null"
    assert page.evaluate(focused)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    rows.update(result="never-shown")
    page.wait_for_timeout(4000)
    assert not requests


def failed_job(kind: str, **fields: Any) -> Job:
    """A job whose last attempt raised an exception of this class."""
    columns = {"attempt": 1, "error": f"{kind}: no", "error_code": "exception", **fields}
    job = make_job(State.FAILED, **columns)
    make_attempt(job, exception_class=kind, code="exception", traceback=TRACEBACK)
    return job
