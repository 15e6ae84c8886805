"""Pictures of the pages, each light, dark and on a phone; a page wider than the screen fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page
from pytest_django import Settings

from .chromium import LOOKS
from .conftest import PATIENCE, give_session
from .pages import SHOTS, Shot

FROM_THE_RIGHT = [shot for shot in SHOTS if shot.name in ("admin-long-job", "admin-long-list")]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_a_page_can_be_looked_at(
    shot: Shot, look: str, chrome: Browser, wsgi: str, boss: User, tmp_path: Path
) -> None:
    context = chrome.new_context(**LOOKS[look], reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    give_session(context, boss, wsgi)
    page = context.new_page()
    response = page.goto(wsgi + shot.make(boss))
    assert response is not None
    assert response.ok
    if shot.then is not None:
        shot.then(page)
    directory = Path(os.environ.get("BGTASKS_SCREENSHOTS", tmp_path))
    page.screenshot(path=directory / f"{shot.name}-{look}.png")
    too_wide, boxes = overhang(page), wide_boxes(page)
    context.close()
    assert too_wide <= 0
    assert not boxes


@pytest.mark.parametrize("look", LOOKS)
def test_a_page_that_is_too_wide_is_noticed(look: str, chrome: Browser) -> None:
    context = chrome.new_context(**LOOKS[look])
    page = context.new_page()
    head = '<meta name="viewport" content="width=device-width">'
    page.set_content(f'{head}<p style="width: 5000px">wide</p>')
    too_wide = overhang(page)
    context.close()
    assert too_wide > 3000


def overhang(page: Page) -> int:
    """By how many pixels the page is wider than the screen.

    Not than `innerWidth`, which grows with the page on a phone.
    """
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(width))


def wide_boxes(page: Page) -> list[str]:
    """The boxes that are wider than the screen, whatever hides that, and lists at a desk of which a
    part must be scrolled to.
    """
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(
            ".bgtasks-code, .bgtasks-traceback, .bgtasks-badge, .bgtasks-queue, fieldset")]
        .map((box) => [box.className, Math.round(box.getBoundingClientRect().width)])
        .filter(([, width]) => width > document.documentElement.clientWidth)
        .concat([...document.querySelectorAll(".app-django_bgtasks .results")]
            .filter(() => innerWidth > 1000)
            .map((list) => ["list", list.scrollWidth - list.clientWidth])
            .filter(([, width]) => width > 0))
        .map(([name, width]) => `${name}: ${width}`)"""
    )
    return found


@pytest.mark.parametrize("look", ["light", "phone"])
@pytest.mark.parametrize("shot", FROM_THE_RIGHT, ids=lambda shot: shot.name)
def test_a_page_that_is_read_from_the_right_fits_and_has_its_code_from_the_left(
    shot: Shot, look: str, chrome: Browser, wsgi: str, boss: User, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = "ar"
    context = chrome.new_context(**LOOKS[look])
    context.set_default_timeout(PATIENCE)
    give_session(context, boss, wsgi)
    page = context.new_page()
    page.goto(wsgi + shot.make(boss))
    assert page.evaluate("getComputedStyle(document.body).direction") == "rtl"
    codes = page.locator(".bgtasks-code, .bgtasks-traceback, .bgtasks-arguments").all()
    directions = {code.evaluate("code => getComputedStyle(code).direction") for code in codes}
    too_wide, boxes = overhang(page), wide_boxes(page)
    context.close()
    assert directions <= {"ltr"}
    assert too_wide <= 0
    assert not boxes
