"""A night on call: what is wrong is found, read and mended in a few clicks, which are counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Locator, Page, expect

from django_bgtasks.models import Job

from .conftest import PATIENCE
from .night import CHARGE, DECLINED, DECLINES, PAUSED, TIMEOUTS, night_on_call

pytestmark = pytest.mark.slow
LogIn = Callable[[User, str], None]


class Clicks:
    """The clicks of one walk."""

    def __init__(self, page: Page) -> None:
        self.page, self.count = page, 0

    def on(self, target: Locator) -> None:
        """Click, and wait for the page behind it."""
        self.count += 1
        target.click()
        self.page.wait_for_load_state()


@pytest.fixture
def night(wsgi: str, page: Page, boss: User, log_in: LogIn) -> Page:
    """The dashboard of that night, of which fewer jobs have succeeded: nobody looks for these."""
    log_in(boss, wsgi)
    page.goto(wsgi + night_on_call(boss, jobs=1_800))
    return page


@pytest.fixture
def whole_night(wsgi: str, page: Page, boss: User, log_in: LogIn) -> Page:
    """The dashboard of all of that night."""
    log_in(boss, wsgi)
    page.goto(wsgi + night_on_call(boss))
    return page


def row_of(page: Page, error: str) -> Locator:
    """The line of one kind of failure."""
    return page.locator("#bgtasks-failed tbody tr").filter(has_text=error)


def test_what_is_wrong_is_one_click_away_and_its_traceback_two(whole_night: Page) -> None:
    night = whole_night
    clicks, problems = Clicks(night), night.locator("#bgtasks-problems")
    expect(problems).not_to_contain_text("Nothing is wrong.")
    expect(problems).not_to_contain_text("tenant-00")
    for words in ("web2:4712 died", "is held", f"grace has paused the queue {PAUSED}; 20 jobs"):
        expect(problems).to_contain_text(words)
    clicks.on(problems.get_by_role("link", name=f"{DECLINES + TIMEOUTS} jobs have failed"))
    expect(night.locator("#changelist-form .paginator")).to_contain_text("300 jobs")
    clicks.on(night.locator("#result_list tbody th a").first)
    expect(night.locator(".bgtasks-traceback").first).to_be_visible()
    assert clicks.count == 2


def test_all_jobs_of_one_kind_are_retried_within_four_clicks(night: Page) -> None:
    clicks, row = Clicks(night), row_of(night, "CardDeclined")
    expect(row.locator("[data-label='Still failed']")).to_have_text(str(DECLINES))
    clicks.on(row.get_by_role("button", name="Retry"))
    expect(night.locator("#content")).to_contain_text(f"Retry: {DECLINES} jobs that failed")
    clicks.on(night.get_by_role("button", name="Yes, I’m sure"))
    expect(night.get_by_text(f"{DECLINES} jobs will run again.")).to_be_visible(timeout=PATIENCE)
    assert clicks.count <= 4
    assert not Job.objects.filter(task=CHARGE, state="failed").exists()
    assert Job.objects.filter(state="failed").count() == TIMEOUTS
    row = row_of(night, "CardDeclined")
    expect(row.locator("[data-label='Still failed']")).to_have_text("0")
    expect(row.locator("[data-label='Tried again']")).to_have_text(str(DECLINES))
    expect(row.get_by_role("button", name="Retry")).to_have_count(0)


def test_the_list_of_one_kind_is_one_click_away(night: Page) -> None:
    row_of(night, "Killed").get_by_role("link", name="List").click()
    expect(night.locator("#changelist-form .paginator")).to_contain_text(f"{TIMEOUTS} jobs")
    assert DECLINED not in night.locator("#result_list").inner_text()


def test_the_queue_in_trouble_is_the_first_and_goes_on_from_its_page(night: Page) -> None:
    clicks = Clicks(night)
    first = night.locator("#bgtasks-queues tbody tr").first
    expect(first).to_contain_text(PAUSED)
    clicks.on(first.get_by_role("link", name=PAUSED))
    expect(night.locator("#bgtasks-problems")).to_contain_text(
        f"grace has paused the queue {PAUSED}; 20 jobs wait"
    )
    clicks.on(night.get_by_role("button", name=f"Resume {PAUSED}"))
    expect(night.get_by_text(f"The queue {PAUSED} goes on.")).to_be_visible()
    assert "/dashboard/queue/" in night.url
    assert clicks.count == 2


def test_idle_queues_are_unfolded_by_keyboard_and_stay_so(night: Page) -> None:
    fold = night.locator("details.bgtasks-idle")
    expect(fold.locator("tr").first).to_be_hidden()
    fold.locator("summary").focus()
    night.keyboard.press("Enter")
    expect(fold.locator("tbody tr").first).to_be_visible()
    seen = night.locator("#bgtasks-as-of").inner_text()
    # Two looks later.
    expect(night.locator("#bgtasks-as-of")).not_to_have_text(seen, timeout=PATIENCE)
    expect(fold.locator("tbody tr").first).to_be_visible()
    assert night.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_rows_change_their_places_but_not_under_the_focus(night: Page) -> None:
    button = night.get_by_role("button", name="Pause tenant-03")
    button.focus()
    Job.objects.filter(queue="tenant-03", state="queued").delete()
    row = night.locator("#bgtasks-queues tr[data-key=tenant-03]")
    expect(row.locator("td").first).to_have_text("0", timeout=PATIENCE)
    assert night.evaluate("document.activeElement.closest('tr').dataset.key") == "tenant-03"
    expect(night.locator("#bgtasks-queues tbody tr").nth(2)).to_contain_text("tenant-03")
    night.evaluate("document.activeElement.blur()")
    expect(night.locator("#bgtasks-queues tbody tr").nth(2)).not_to_contain_text(
        "tenant-03", timeout=PATIENCE
    )
