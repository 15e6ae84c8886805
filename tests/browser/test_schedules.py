"""A schedule in the admin, from the form in which it is written until the code has it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page, expect

from django_bgtasks import testing
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules.code import write_declared
from tests.schedules.tasks import digest, note

from .schedules import URL

pytestmark = pytest.mark.slow
LogIn = Callable[[User, str], None]


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with testing.without_redis():
        yield


@pytest.fixture(autouse=True)
def within_the_policy(wsgi: str, page: Page) -> Iterator[None]:
    """The strict Content-Security-Policy of the site refuses nothing of these pages.

    wsgi: so that the page is closed before its site, which waits for the connections to end.
    """
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if line.type == "error" else None)
    yield
    assert not [text for text in refused if "Content Security Policy" in text]


def test_a_schedule_is_added_previewed_edited_paused_run_and_made_up(
    wsgi: str, page: Page, boss: User, log_in: LogIn
) -> None:
    log_in(boss, wsgi)
    page.goto(f"{wsgi}{URL}add/")
    page.get_by_label("Name").fill("monday-report")
    page.get_by_label("Task", exact=False).first.select_option(note.module_path)
    page.get_by_label("Cron expression").press_sequentially("61 8 * * MON")
    words, times = page.locator("#bgtasks-rule-words"), page.locator("#bgtasks-rule-times")
    expect(words).to_contain_text("is not allowed")
    expect(words).to_have_attribute("role", "status")
    page.get_by_label("Cron expression").fill("0 8 * * MON")
    page.get_by_label("Time zone").fill("Asia/Tokyo")
    expect(words).to_contain_text("Asia/Tokyo")
    expect(times.locator("tbody tr")).to_have_count(5)
    expect(times).to_contain_text("08:00 JST")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The schedule monday-report is saved.")).to_be_visible()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Cron expression").fill("0 9 * * *")
    expect(times).to_contain_text("09:00 JST")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("by boss")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("goes on.")).to_be_visible()
    page.get_by_role("button", name="Run now").click()
    page.get_by_role("link", name="this is the job").click()
    page.get_by_role("link", name="monday-report", exact=True).click()
    page.get_by_role("link", name="Make up").click()
    page.locator("#id_start").fill("2026-11-01T00:00:00")
    page.locator("#id_end").fill("2026-11-10T23:59:59")
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("10 ticks have no job there.")).to_be_visible()
    page.get_by_role("button", name="Make up").click()
    expect(page.get_by_text("10 jobs were enqueued.")).to_be_visible()
    assert Job.objects.filter(schedule=Schedule.objects.get().pk).count() == 11
    page.get_by_role("link", name="All jobs of this schedule").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(11)


def test_a_schedule_of_the_code_is_edited_without_a_script_and_given_back(
    wsgi: str, context: BrowserContext, page: Page, boss: User, log_in: LogIn
) -> None:
    log_in(boss, wsgi)
    write_declared("default", "default")
    row = Schedule.objects.get(task=digest.module_path)
    context.route("**/schedule.js", lambda route: route.abort())
    page.goto(f"{wsgi}{URL}{row.pk}/edit/")
    page.get_by_label("Cron expression").fill("0 9 * * *")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#bgtasks-rule-times")).to_contain_text("09:00 CE")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Back to the code’s").click()
    expect(page.get_by_text("is what the code says again")).to_be_visible()
    row.refresh_from_db()
    assert (row.cron, row.overridden) == ("0 6 * * MON-FRI", False)
