"""A member uploads a zip, sees its workflow move, replaces a broken picture, and gets the sheet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from django_bgtasks import get_batch
from testproject.demo import samples
from testproject.office.models import Album

from ..workers import WorkerFactory
from .axe import violations
from .chromium import LOOKS
from .conftest import PATIENCE, give_session

pytestmark = pytest.mark.slow


def shoot(page: Page, name: str) -> None:
    """A picture of the page, where somebody wants to look at it."""
    if shots := os.environ.get("BGTASKS_SCREENSHOTS"):
        page.screenshot(path=Path(shots) / f"{name}.png", full_page=True)


@pytest.mark.long(after=1)
@pytest.mark.parametrize("look", LOOKS)
def test_a_broken_picture_of_an_album_is_replaced_and_the_sheet_appears(
    wsgi: str, chrome: Browser, ada: User, bgworker: WorkerFactory, look: str
) -> None:
    context = chrome.new_context(**LOOKS[look])
    context.set_default_timeout(PATIENCE)
    give_session(context, ada, wsgi)
    page = context.new_page()
    page.goto(f"{wsgi}/albums/")
    trip = samples.album(14, broken="torn.jpg")
    page.get_by_label("Zip file").set_input_files(
        {"name": "trip.zip", "mimeType": "application/zip", "buffer": trip}
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("0 of 3 parts are done")).to_be_visible(timeout=PATIENCE)
    assert violations(page) == []
    shoot(page, f"album-open-{look}")

    # A worker of the site itself, whose mails name its pages.
    bgworker("--processes", 2, env={"DJANGO_SETTINGS_MODULE": "tests.browser.settings"})
    # Without a reload: the script takes over what the server draws.
    expect(page.get_by_text("torn.jpg is not a picture that can be read")).to_be_visible(
        timeout=PATIENCE
    )
    expect(page.get_by_role("button", name="Try again")).to_be_visible(timeout=PATIENCE)
    assert violations(page) == []
    shoot(page, f"album-failed-{look}")

    page.get_by_label("Another file for torn.jpg").set_input_files(
        {"name": "whole.jpg", "mimeType": "image/jpeg", "buffer": samples.picture(400, 300)}
    )
    page.get_by_role("button", name="Replace it").click()
    sheet = page.get_by_alt_text("All pictures of trip.zip on one sheet")
    expect(sheet).to_be_visible(timeout=PATIENCE)
    expect(page.locator("bgtasks-progress [data-label]")).to_have_text(
        "Succeeded", timeout=PATIENCE
    )
    assert sheet.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1044
    assert violations(page) == []
    shoot(page, f"album-done-{look}")
    workflow = Album.objects.get().workflow
    assert workflow is not None
    assert get_batch(workflow).outcome == "succeeded"
    context.close()
