"""Somebody watches a workflow in the admin, and cancels it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from django_bgtasks.core import clock
from django_bgtasks.models import Batch, Job

from .axe import violations
from .workflows import page_of, running

pytestmark = pytest.mark.slow


def test_the_page_follows_the_workflow_and_cancels_it_by_keyboard(
    wsgi: str, page: Page, boss: User, log_in: Callable[[User, str], None]
) -> None:
    """The strict Content-Security-Policy of the site refuses nothing of the page."""
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    root = running(boss)
    parts = Batch.objects.get(parent=root.pk)
    log_in(boss, wsgi)
    page.goto(f"{wsgi}{page_of(parts)}")
    state = page.locator("#bgtasks-state")
    expect(state).to_contain_text("4 / 9")
    Job.objects.filter(batch=parts.pk, state="queued").update(
        state="succeeded", started_at=clock.now(), finished_at=clock.now()
    )
    expect(state).to_contain_text("6 / 9")
    page.get_by_role("link", name="contacts of june.csv").first.click()
    expect(page.get_by_role("heading", name="contacts of june.csv")).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).press("Enter")
    expect(page.get_by_text("What is to run when it has ended still runs.")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Yes, I’m sure").press("Enter")
    expect(page.get_by_text("were cancelled or asked to stop.")).to_be_visible()
    expect(state).to_contain_text("Being cancelled")
    assert [text for text in refused if "Content" in text] == []
