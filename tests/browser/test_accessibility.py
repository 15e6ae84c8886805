"""What the rules of accessibility find elsewhere: test_screenshots.py has our pages looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from playwright.sync_api import Page

from .axe import DJANGOS_OWN, OF_LOOKS, violations

HEAD = '<html lang="en"><head><title>A page</title></head>'


def test_a_page_that_breaks_rules_is_noticed(page: Page) -> None:
    page.set_content(f'{HEAD}<main><h1>A page</h1><input><p style="color: #ccc">pale</p></main>')
    assert {line.partition(":")[0] for line in violations(page)} == {"label", "color-contrast"}
    assert {line.partition(":")[0] for line in violations(page, *OF_LOOKS)} == {"color-contrast"}


def test_what_is_left_out_breaks_the_same_rules_on_djangos_own_pages(
    wsgi: str,
    page: Page,
    boss: User,
    log_in: Callable[[User, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(UserAdmin, "search_help_text", "A name, or a part of one")
    log_in(boss, wsgi)
    page.goto(f"{wsgi}/admin/auth/user/")
    found = violations(page, exclude=())
    assert [place for place in DJANGOS_OWN if not any(place in line for line in found)] == []
    assert violations(page) == []
