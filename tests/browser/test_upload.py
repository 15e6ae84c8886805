"""A member follows an upload in the browser to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from testproject.demo import samples

from ..workers import WorkerFactory

pytestmark = pytest.mark.slow


def test_an_upload_is_followed_to_its_end(
    server: str,
    page: Page,
    ada: User,
    log_in: Callable[[User, str], None],
    bgworker: WorkerFactory,
    tmp_path: Path,
) -> None:
    bgworker()
    log_in(ada, server)
    file = tmp_path / "june.csv"
    file.write_bytes(samples.contacts(3000))
    page.goto(f"{server}/contacts/")
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    page.wait_for_url("**/jobs/*/")
    expect(page.get_by_text("3,000 contacts")).to_be_visible(timeout=60_000)
