"""A member has a report sent every Monday at 8 where they live, changes that, and removes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, expect

from django_bgtasks.models import Schedule

from .axe import violations
from .chromium import LOOKS
from .conftest import PATIENCE, give_session

pytestmark = pytest.mark.slow


@pytest.mark.long(after=1)
@pytest.mark.parametrize("look", LOOKS)
def test_a_report_by_the_clock_is_made_changed_and_removed(
    wsgi: str, chrome: Browser, ada: User, look: str
) -> None:
    context = chrome.new_context(**{**LOOKS[look], "timezone_id": "Asia/Tokyo"})
    context.set_default_timeout(PATIENCE)
    give_session(context, ada, wsgi)
    page = context.new_page()
    page.goto(f"{wsgi}/reports/")
    page.get_by_role("link", name="Have one built by itself").click()
    # What is on the form suits who has not chosen anything: the zone is that of the machine.
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_text("every Monday at 08:00, Asia/Tokyo")).to_be_visible()
    page.get_by_label("Day").select_option("FRI")
    page.get_by_label("Time", exact=True).select_option("17:00")
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("every Friday at 17:00, Asia/Tokyo")).to_be_visible()
    row = Schedule.objects.get()
    assert (row.cron, row.zone, row.owner) == ("0 17 * * FRI", "Asia/Tokyo", ada)
    assert violations(page) == []
    if shots := os.environ.get("BGTASKS_SCREENSHOTS"):
        page.screenshot(path=Path(shots) / f"report-schedule-{look}.png", full_page=True)
    page.get_by_role("button", name="No more reports").click()
    expect(page.get_by_text("Reports come only when you ask for one.")).to_be_visible()
    assert not Schedule.objects.exists()
    context.close()
