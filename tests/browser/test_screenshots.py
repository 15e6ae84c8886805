"""Pictures of the pages, each light, dark and on a phone.

A page that is wider than the screen fails, and one that breaks a rule of accessibility.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page
from pytest_django import Settings

from ..settings import WITH_UNFOLD
from .axe import OF_LOOKS, TRANSITIONS, violations
from .chromium import LOOKS
from .conftest import PATIENCE, give_session
from .pages import SHOTS, Shot

# Those of a tab: a picture in dark is of the page that was loaded in light. Unfold's are its own.
TABS: list[list[str]] = [["light"]] if WITH_UNFOLD else [["light", "dark"], ["phone"]]
FROM_THE_RIGHT = [shot for shot in SHOTS if shot.name in ("admin-long-job", "admin-long-list")]

EACH = [
    pytest.param(shot, id=shot.name, marks=[pytest.mark.long] if shot.long else [])
    for shot in SHOTS
]


@pytest.mark.parametrize("shot", EACH)
def test_a_page_can_be_looked_at_in_light_in_dark_and_on_a_phone(
    shot: Shot, chrome: Browser, wsgi: str, boss: User
) -> None:
    address, found = wsgi + shot.make(boss), {}
    for looks in TABS:
        with visit(chrome, looks[0], wsgi, boss) as page:
            response = page.goto(address)
            assert response is not None
            assert response.ok
            if shot.then is not None:
                shot.then(page)
            for look in looks:
                found[look] = look_at(page, shot.name, look)
    assert not any(found.values()), found


def look_at(page: Page, name: str, look: str) -> list[str]:
    """Take the picture where somebody wants to look at it; what is wrong with the page."""
    page.emulate_media(color_scheme=LOOKS[look]["color_scheme"])
    page.evaluate(TRANSITIONS)
    if directory := os.environ.get("BGTASKS_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}-{look}.png")
    wrong = wide_boxes(page)
    if (too_wide := overhang(page)) > 0:
        wrong.append(f"The page is {too_wide} px wider than the screen.")
    if WITH_UNFOLD:
        return wrong
    return wrong + violations(page, *(() if look == "light" else OF_LOOKS))


@contextmanager
def visit(chrome: Browser, look: str, address: str, user: User) -> Iterator[Page]:
    """A tab of a browser with this look, in which the user is logged in."""
    context = chrome.new_context(**LOOKS[look], reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    give_session(context, user, address)
    try:
        yield context.new_page()
    finally:
        context.close()


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
    """The boxes that are wider than the screen, whatever hides that, lists at a desk of which a
    part must be scrolled to, and filters that are longer than the screen.
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
        .concat([...document.querySelectorAll(".app-django_bgtasks #changelist-filter ul")]
            .map((filter) => ["filter", filter.offsetHeight])
            .filter(([, height]) => height > document.documentElement.clientHeight))
        .map(([name, width]) => `${name}: ${width}`)"""
    )
    return found


@pytest.mark.parametrize("shot", FROM_THE_RIGHT, ids=lambda shot: shot.name)
def test_a_page_that_is_read_from_the_right_fits_and_has_its_code_from_the_left(
    shot: Shot, chrome: Browser, wsgi: str, boss: User, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = "ar"
    address, codes = wsgi + shot.make(boss), ".bgtasks-code, .bgtasks-traceback, .bgtasks-arguments"
    for look in ("light", "phone"):
        with visit(chrome, look, wsgi, boss) as page:
            page.goto(address)
            assert page.evaluate("getComputedStyle(document.body).direction") == "rtl"
            for code in page.locator(codes).all():
                assert code.evaluate("code => getComputedStyle(code).direction") == "ltr"
            assert overhang(page) <= 0
            assert not wide_boxes(page)
