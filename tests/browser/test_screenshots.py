"""Pictures of the pages, each light, dark and on a phone; a page wider than the phone fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser

from .chromium import LOOKS
from .conftest import PATIENCE, give_session
from .pages import SHOTS, Shot


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
    directory = Path(os.environ.get("BGTASKS_SCREENSHOTS", tmp_path))
    page.screenshot(path=directory / f"{shot.name}-{look}.png")
    overhang = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    context.close()
    assert look != "phone" or overhang <= 0
