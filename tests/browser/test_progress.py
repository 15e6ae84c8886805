"""<bgtasks-progress> in a browser: it follows, cancels, fails and never runs what it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, Route, expect

from django_bgtasks.models import Job
from testproject.demo import samples
from testproject.office.models import Picture
from tests.interfaces.rows import make_job

from ..waiting import wait_until
from ..workers import WorkerFactory
from .conftest import give_session

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=document.body.dataset.broken=1>"
LogIn = Callable[[User, str], None]
PATIENCE = 60_000


def test_an_upload_is_followed_to_its_end(
    server: str, page: Page, ada: User, log_in: LogIn, bgworker: WorkerFactory, tmp_path: Path
) -> None:
    log_in(ada, server)
    file = tmp_path / "june.csv"
    file.write_bytes(samples.contacts(3000))
    page.goto(f"{server}/contacts/")
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    page.wait_for_url("**/jobs/*/")
    expect(page.locator("bgtasks-progress")).to_have_attribute("data-state", "queued")
    bgworker()
    made = page.locator("p.message", has_text="3,000 contacts")
    expect(made).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "100")


def test_every_step_is_shown_as_text_and_the_end_has_a_link(
    server: str, page: Page, ada: User, log_in: LogIn
) -> None:
    job = make_job("running", owner=ada, attempt=1)
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    log_in(ada, server)
    page.goto(f"{server}/pictures/{picture_with(job, ada)}/")
    bar = page.get_by_role("progressbar")
    expect(page.locator("bgtasks-progress [data-label]")).to_have_text("Running")
    expect(bar).not_to_have_attribute("value", "0")
    Job.objects.update(progress_done=3, progress_total=10, progress_message=HOSTILE)
    expect(page.locator("[data-message]")).to_have_text(HOSTILE, timeout=PATIENCE)
    expect(page.locator("[data-share]")).to_have_text("30 %")
    expect(bar).to_have_js_property("value", 3)
    expect(page.get_by_role("link", name="Show the result")).to_be_hidden()
    Job.objects.update(state="succeeded", finished_at=job.enqueued_at, result=HOSTILE)
    expect(page.locator("[data-label]")).to_have_text("Succeeded", timeout=PATIENCE)
    expect(page.locator("[data-message]")).to_have_text(HOSTILE)
    expect(page.locator("[data-spoken]")).to_have_text(f"Succeeded, {HOSTILE}")
    expect(page.get_by_role("link", name="Show the result")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert any("/events/" in url for url in urls) != any("wait=20" in url for url in urls)
    assert page.evaluate("document.body.dataset.broken") is None


def test_a_failure_is_told_as_text(wsgi: str, page: Page, ada: User, log_in: LogIn) -> None:
    job = make_job("running", owner=ada, attempt=1)
    log_in(ada, wsgi)
    page.goto(f"{wsgi}/pictures/{picture_with(job, ada)}/")
    gave_up = {"error_code": "give_up", "error_params": {"words": HOSTILE}}
    Job.objects.update(state="failed", finished_at=job.enqueued_at, **gave_up)
    expect(page.locator("[data-message]")).to_have_text(HOSTILE, timeout=PATIENCE)
    assert page.evaluate("document.body.dataset.broken") is None


def test_the_error_of_an_earlier_attempt_gives_way_to_the_progress_of_this_one(
    wsgi: str, page: Page, log_in: LogIn
) -> None:
    progress = {"progress_done": 1, "progress_total": 10, "progress_message": "row 1"}
    job = make_job("running", attempt=2, error="OSError: broken", **progress)
    log_in(User.objects.create_superuser("root"), wsgi)
    page.goto(f"{wsgi}/jobs/{job.pk}/")
    message = page.locator("[data-message]")
    expect(message).to_have_text("row 1")
    Job.objects.update(progress_done=2, progress_message="row 2")
    expect(message).to_have_text("row 2", timeout=PATIENCE)
    Job.objects.update(state="scheduled", run_after=job.enqueued_at)
    expect(message).to_have_text("OSError: broken", timeout=PATIENCE)


def test_the_owner_cancels_by_keyboard_and_a_stranger_sees_nothing(
    server: str, page: Page, ada: User, log_in: LogIn
) -> None:
    job = make_job("queued", owner=ada)
    log_in(User.objects.create_user("eve"), server)
    for place in (f"/jobs/{job.pk}/", f"/jobs/status/{job.pk}/", f"/jobs/status/{job.pk}/events/"):
        response = page.goto(server + place)
        assert response is not None
        assert response.status == 404
    log_in(ada, server)
    page.goto(f"{server}/jobs/{job.pk}/")
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Try again")).to_be_visible(timeout=PATIENCE)
    assert Job.objects.get().state == "cancelled"


def test_where_streams_do_not_get_through_it_asks(
    asgi: str, page: Page, ada: User, log_in: LogIn
) -> None:
    page.route("**/events/", lambda route: route.abort())
    job = make_job("running", owner=ada, attempt=1)
    log_in(ada, asgi)
    page.goto(f"{asgi}/pictures/{picture_with(job, ada)}/")
    Job.objects.update(progress_done=3, progress_total=10, progress_message="row 3")
    expect(page.locator("[data-message]")).to_have_text("row 3", timeout=PATIENCE)


def test_where_a_stream_is_held_back_it_asks(
    asgi: str, page: Page, ada: User, log_in: LogIn
) -> None:
    """As by a proxy that buffers answers until they end: nothing is an error then."""
    routes: list[Route] = []
    page.route("**/events/", lambda route: routes.append(route))  # noqa: PLW0108 - it is marked
    job = make_job("running", owner=ada, attempt=1)
    log_in(ada, asgi)
    page.goto(f"{asgi}/pictures/{picture_with(job, ada)}/")
    Job.objects.update(progress_done=3, progress_total=10, progress_message="row 3")
    expect(page.locator("[data-message]")).to_have_text("row 3", timeout=PATIENCE)
    assert routes


def test_without_a_script_the_page_reads_and_the_button_works(
    wsgi: str, chrome: Browser, ada: User
) -> None:
    job = make_job("queued", owner=ada)
    context = chrome.new_context(java_script_enabled=False)
    give_session(context, ada, wsgi)
    page = context.new_page()
    page.goto(f"{wsgi}/jobs/{job.pk}/")
    expect(page.locator("[data-label]")).to_have_text("Queued")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible(timeout=PATIENCE)
    context.close()


def test_a_button_pressed_twice_orders_one_report(
    wsgi: str, page: Page, ada: User, log_in: LogIn
) -> None:
    log_in(ada, wsgi)
    page.goto(f"{wsgi}/reports/")
    page.get_by_role("button", name="Build a report").dblclick()
    page.wait_for_url("**/jobs/*/")
    wait_until(lambda: Job.objects.count() == 1)


def picture_with(job: Job, owner: User) -> str:
    """A picture whose job this is, for its page."""
    picture = Picture.objects.create(owner=owner, name="a.jpg", digest="0", size=1, file="a.jpg")
    job.about = picture
    job.save()
    return str(picture.pk)
