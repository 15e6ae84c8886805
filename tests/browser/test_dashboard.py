"""An operator watches the dashboard while jobs run, and pauses a queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from playwright.sync_api import Browser, Page, expect

from django_bgtasks.models import Job, QueuePause
from django_bgtasks.worker.maintenance import rollups
from tests.app.tasks import add, fail
from tests.interfaces.rows import make_worker

from ..workers import WorkerFactory
from .chromium import LOOKS
from .conftest import PATIENCE, give_session

pytestmark = pytest.mark.slow
DASHBOARD = "/admin/django_bgtasks/dashboard/"
# A roll-up is ten seconds old at most, and the page three more.
SOON = 60_000


def test_the_page_changes_while_jobs_run_and_keeps_what_the_reader_does(
    wsgi: str,
    page: Page,
    boss: User,
    log_in: Callable[[User, str], None],
    bgworker: WorkerFactory,
) -> None:
    log_in(boss, wsgi)
    page.goto(wsgi + DASHBOARD)
    empty = "No worker is running. Start one: python manage.py bgworker"
    expect(page.locator("#bgtasks-workers")).to_contain_text(empty)
    table = page.locator("#bgtasks-charts summary").first
    table.focus()
    page.keyboard.press("Enter")
    bgworker()
    expect(page.locator("#bgtasks-workers li").first).to_contain_text("Alive", timeout=SOON)
    for _ in range(3):
        add.enqueue(1, 2)
    fail.enqueue()
    expect(page.get_by_text("4 jobs ended.").first).to_be_visible(timeout=SOON)
    expect(page.locator("#bgtasks-failed")).to_contain_text("ValueError", timeout=SOON)
    expect(page.locator("svg .bgtasks-failed").first).to_be_attached()
    # The table is still open and still has the focus, though the sections were fetched anew.
    assert page.evaluate("document.activeElement.parentElement.open") is True
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_a_page_that_is_held_still_does_not_move(
    wsgi: str, page: Page, boss: User, log_in: Callable[[User, str], None]
) -> None:
    log_in(boss, wsgi)
    page.goto(wsgi + DASHBOARD)
    button = page.get_by_role("button", name="Hold the page still")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    make_worker()
    button.click()
    expect(page.locator("#bgtasks-problems")).to_contain_text("Nothing is wrong.", timeout=SOON)


def test_a_queue_is_paused_and_resumed_with_its_button(
    wsgi: str,
    page: Page,
    boss: User,
    log_in: Callable[[User, str], None],
    bgworker: WorkerFactory,
) -> None:
    log_in(boss, wsgi)
    bgworker()
    page.goto(wsgi + DASHBOARD)
    page.get_by_role("button", name="Pause emails").click()
    expect(page.get_by_text("The queue emails is paused.", exact=True)).to_be_visible()
    assert QueuePause.objects.get().by == "boss"
    # Two seconds at most until the last process has heard of it.
    page.wait_for_timeout(2500)
    result = add.using(queue_name="emails").enqueue(1, 2)
    expect(page.locator("#bgtasks-problems")).to_contain_text("1 job waits in it", timeout=SOON)
    assert Job.objects.get(pk=result.id).state == "queued"
    page.get_by_role("button", name="Resume emails").click()
    expect(page.get_by_text("The queue emails goes on.")).to_be_visible()
    expect(page.locator("#bgtasks-problems")).to_contain_text("Nothing is wrong.", timeout=SOON)
    result.wait(timeout=60)


def test_who_may_not_pause_sees_no_button_and_is_refused(
    wsgi: str, page: Page, ada: User, log_in: Callable[[User, str], None]
) -> None:
    ada.is_staff = True
    ada.save()
    ada.user_permissions.set(Permission.objects.filter(codename="view_dashboard"))
    log_in(ada, wsgi)
    page.goto(wsgi + DASHBOARD)
    expect(page.get_by_role("row", name="emails")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    cookie = next(one for one in page.context.cookies() if one["name"] == "csrftoken")
    answer = page.request.post(
        f"{wsgi}{DASHBOARD}pause/",
        form={"queue": "emails", "csrfmiddlewaretoken": cookie["value"]},
    )
    assert answer.status == 403
    assert not QueuePause.objects.exists()


def test_without_scripts_the_page_shows_everything(wsgi: str, chrome: Browser, boss: User) -> None:
    make_worker()
    context = chrome.new_context(**LOOKS["phone"], java_script_enabled=False)
    context.set_default_timeout(PATIENCE)
    give_session(context, boss, wsgi)
    page = context.new_page()
    page.goto(wsgi + DASHBOARD)
    rollups.run_once("default")
    expect(page.get_by_role("img", name="How long jobs wait and run")).to_be_visible()
    expect(page.get_by_role("button", name="Hold the page still")).to_have_count(0)
    page.get_by_role("button", name="Pause emails").click()
    expect(page.get_by_role("button", name="Resume emails")).to_be_visible()
    context.close()
