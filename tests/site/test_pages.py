"""The pages: every one can be read, by the right people, under a strict policy."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from django_bgtasks.models import Job
from testproject.demo import samples
from testproject.office.models import Import

from .conftest import upload

PAGES = (
    *("/", "/pictures/", "/albums/", "/contacts/", "/cities/"),
    *("/reports/", "/reports/schedule/", "/jobs/"),
)
OPEN = ("/", "/accounts/login/", "/accounts/sign-up/", "/accounts/reset/", "/accounts/reset/sent/")


@pytest.mark.parametrize("path", OPEN)
def test_a_visitor_can_read_the_open_pages(path: str, client: Client) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", PAGES[1:])
def test_a_visitor_is_asked_to_sign_in(path: str, client: Client) -> None:
    assert client.get(path).headers["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_to_a_policy_without_anything_inline(path: str, browser: Client) -> None:
    response = browser.get(path)
    assert (
        "default-src 'none'; script-src 'self'; style-src 'self'"
        in (response.headers["Content-Security-Policy"])
    )
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", response.text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", response.text)


def test_a_job_shows_where_it_stands_without_a_script(browser: Client, jobs: ModuleType) -> None:
    job_id = upload(browser, "/contacts/", "a.csv", samples.contacts(3))
    assert '<noscript><meta http-equiv="refresh"' in browser.get(f"/jobs/{job_id}/").text
    jobs.run_jobs()
    page = browser.get(f"/jobs/{job_id}/").text
    assert "succeeded" in page
    assert "3 contacts, 1 line skipped" in page
    assert "refresh" not in page


def test_a_job_is_for_its_owner_and_for_staff_who_may_see_jobs(
    browser: Client, jobs: ModuleType
) -> None:
    path = f"/jobs/{upload(browser, '/contacts/', 'a.csv', samples.contacts(3))}/"
    answers = {}
    for name, create in {
        "ben": User.objects.create_user,
        "root": User.objects.create_superuser,
    }.items():
        client = Client()
        client.force_login(create(name))
        answers[name] = client.get(path).status_code
    assert answers == {"ben": 404, "root": 200}


def test_an_owner_cancels_a_job_and_tries_it_again(browser: Client, jobs: ModuleType) -> None:
    job_id = upload(browser, "/contacts/", "a.csv", samples.contacts(3))
    browser.post(f"/jobs/status/{job_id}/cancel/")
    assert Job.objects.get(pk=job_id).state == "cancelled"
    browser.post(f"/jobs/{job_id}/retry/")
    jobs.run_jobs()
    assert Job.objects.get(pk=job_id).state == "succeeded"
    page = browser.post(f"/jobs/{job_id}/retry/", follow=True)
    assert "only a job that is" in page.text


def test_another_member_cancels_nothing(browser: Client, jobs: ModuleType) -> None:
    job_id = upload(browser, "/contacts/", "a.csv", samples.contacts(3))
    client = Client()
    client.force_login(User.objects.create_user("ben"))
    assert client.post(f"/jobs/status/{job_id}/cancel/").status_code == 404
    assert client.post(f"/jobs/{job_id}/retry/").status_code == 404


def test_a_full_queue_is_503_and_leaves_neither_row_nor_file(
    browser: Client, jobs: ModuleType, settings: Settings
) -> None:
    default: dict[str, Any] = {
        **settings.TASKS["default"],
        "OPTIONS": {"max_depth": {"uploads": 1}},
    }
    settings.TASKS = {"default": default}
    upload(browser, "/contacts/", "a.csv", samples.contacts(3))
    file = SimpleUploadedFile("b.csv", samples.contacts(4))
    response = browser.post("/contacts/", {"file": file})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert Import.objects.count() == 1
    assert [path.suffix for path in settings.MEDIA_ROOT.rglob("*.*")] == [".csv"]


def test_an_upload_that_is_too_large_is_refused(browser: Client, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 1000
    file = SimpleUploadedFile("a.csv", b"a" * 2000)
    assert browser.post("/contacts/", {"file": file}).status_code in (400, 413)


def test_a_missing_file_is_422_for_pages_and_scripts(browser: Client) -> None:
    assert "This field is required" in browser.post("/contacts/").text
    response = browser.post("/contacts/", headers={"Accept": "application/json"})
    assert response.status_code == 422
    assert response.json() == {"errors": {"file": ["This field is required."]}}


def test_a_file_is_kept_under_a_name_of_the_sites_own(browser: Client, jobs: ModuleType) -> None:
    upload(browser, "/contacts/", "x.php;.csv.<svg>", samples.contacts(3))
    assert re.fullmatch(r"import/[0-9a-f]{32}", Import.objects.get().file.name or "")
