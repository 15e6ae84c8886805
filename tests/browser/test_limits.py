"""A member has cities found by a provider who takes two calls at once, and sees who waits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from django_bgtasks.jobs.actions import cancel_job
from django_bgtasks.models import Job
from testproject.demo.samples import CITIES
from testproject.office.models import Contact, Import

from .axe import violations
from .chromium import LOOKS
from .conftest import PATIENCE, give_session
from .limits import LIST, line

pytestmark = pytest.mark.slow


@pytest.mark.long(after=1)
@pytest.mark.parametrize("look", LOOKS)
def test_whoever_waits_for_a_place_sees_how_many_are_before_them(
    wsgi: str, chrome: Browser, ada: User, look: str
) -> None:
    source = Import.objects.create(owner=ada, name="contacts.csv", digest="1", size=1)
    Contact.objects.bulk_create(
        Contact(source=source, name="Ada", email="ada@example.org", city=city) for city in CITIES
    )
    context = chrome.new_context(**LOOKS[look])
    context.set_default_timeout(PATIENCE)
    give_session(context, ada, wsgi)
    page = context.new_page()
    page.goto(f"{wsgi}/cities/")
    page.get_by_role("button", name="Find the cities").click()
    row = page.get_by_role("listitem").filter(has_text="Turin")
    expect(row).to_contain_text("It waits for a place: 5 jobs are before it.")
    expect(row).to_contain_text("waiting")
    expect(page.locator(".state.queued")).to_have_count(2)
    assert violations(page) == []
    shoot(page, f"cities-{look}")
    page.get_by_role("link", name="Turin").click()
    bar = page.locator("bgtasks-progress")
    expect(bar).to_contain_text("It waits for a place: 5 jobs are before it.")
    assert violations(page) == []
    shoot(page, f"city-{look}")
    # The line moves, and the page follows.
    for job in Job.objects.filter(state="blocked").order_by("pk")[:5]:
        cancel_job(job.pk)
    expect(bar).to_contain_text("It waits for a place, and gets the next one.")
    cancel_job(Job.objects.filter(state="queued").order_by("pk")[0].pk)
    expect(page.get_by_text("Waiting for a worker.")).to_be_visible()
    expect(bar).not_to_contain_text(re.compile("waits for"))
    context.close()


def test_a_limit_is_changed_by_keyboard_and_who_waits_gets_in(
    wsgi: str, page: Page, boss: User, log_in: Callable[[User, str], None]
) -> None:
    """The strict Content-Security-Policy of the site refuses nothing of the page."""
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    line("stripe:42", 2, 3)
    log_in(boss, wsgi)
    page.goto(f"{wsgi}{LIST}")
    number = page.get_by_label("How many jobs of stripe:42 may run at once")
    number.focus()
    number.fill("4")
    page.keyboard.press("Enter")
    expect(page.get_by_text("At most 4 jobs of stripe:42 run at once from now on.")).to_be_visible()
    expect(page.get_by_role("row", name="stripe:42").first).to_contain_text("4 / 4")
    assert Job.objects.filter(state="queued", place__isnull=False).count() == 2
    page.get_by_role("button", name="Back to the code’s stripe:42").first.press("Enter")
    expect(page.get_by_text("The code says again how many jobs of stripe:42")).to_be_visible()
    assert [text for text in refused if "Content" in text] == []


def shoot(page: Page, name: str) -> None:
    """Keep a picture of it, if somebody wants to look."""
    if shots := os.environ.get("BGTASKS_SCREENSHOTS"):
        page.screenshot(path=Path(shots) / f"{name}.png", full_page=True)
