"""Where contacts are: a provider who takes two calls at once; and uploads one at a time."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from django_bgtasks.models import Job
from django_bgtasks.testing import enqueued
from testproject.demo import samples
from testproject.office import geocoder
from testproject.office.models import City
from testproject.office.tasks.cities import find_city

from .conftest import upload

HEAD = b"name,email,company,city\n"


@pytest.fixture(autouse=True)
def provider(settings: Settings, tmp_path: Path) -> None:
    """It answers at once."""
    settings.GEOCODER_SECONDS = 0.0
    settings.GEOCODER_DIRECTORY = tmp_path / "geocoder"


@pytest.fixture
def contacts(browser: Client, jobs: ModuleType) -> None:
    """Contacts in seven cities."""
    upload(browser, "/contacts/", "contacts.csv", samples.contacts(14))
    jobs.run_jobs()


def test_two_cities_are_asked_for_at_once_and_all_are_found(
    browser: Client,
    contacts: None,
    jobs: ModuleType,
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        browser.post("/cities/")
    assert [job.state for job in enqueued(find_city)] == ["queued"] * 2 + ["blocked"] * 5
    assert browser.get("/cities/").text.count(">waiting</span>") == 5
    jobs.run_jobs()
    page = browser.get("/cities/").text
    assert "60.39° N, 5.32° E" not in page  # Bergen: none of these contacts is there
    assert "41.15° N, 8.61° W" in page
    assert page.count(">found</span>") == 7


def test_what_is_known_is_not_asked_for_again(
    browser: Client, contacts: None, jobs: ModuleType
) -> None:
    for _ in range(2):
        browser.post("/cities/")
    assert len(enqueued(find_city)) == 7
    jobs.run_jobs()
    browser.post("/cities/")
    assert len(enqueued(find_city)) == 7


def test_a_city_that_the_provider_does_not_know_says_so(browser: Client, jobs: ModuleType) -> None:
    upload(browser, "/contacts/", "a.csv", HEAD + b"Ada,ada@example.org,,Atlantis\n")
    jobs.run_jobs()
    browser.post("/cities/")
    jobs.run_jobs()
    assert "The provider knows no city of the name Atlantis." in browser.get("/cities/").text
    assert City.objects.get().position == ""


def test_a_members_cities_are_theirs_alone(
    browser: Client, contacts: None, jobs: ModuleType
) -> None:
    browser.post("/cities/")
    other = Client()
    other.force_login(User.objects.create_user("ben"))
    other.post("/cities/")
    assert "No cities yet." in other.get("/cities/").text


def test_the_provider_refuses_a_third_call() -> None:
    with geocoder.line(), geocoder.line(), pytest.raises(geocoder.TooManyCallsError):
        geocoder.locate("Porto")
    assert geocoder.locate("Porto") == (41.15, -8.61)


def test_uploads_of_a_member_are_done_one_at_a_time_in_their_order(
    browser: Client, jobs: ModuleType
) -> None:
    ids = [
        upload(browser, "/contacts/", "a.csv", samples.contacts(3)),
        upload(browser, "/pictures/", "bad.jpg", b"no picture"),
        upload(browser, "/contacts/", "b.csv", samples.contacts(4)),
    ]
    other = Client()
    other.force_login(User.objects.create_user("ben"))
    theirs = upload(other, "/contacts/", "a.csv", samples.contacts(3))
    assert "It waits for its turn: 2 jobs are before it." in browser.get(f"/jobs/{ids[2]}/").text
    ran = [str(job.pk) for job in jobs.run_jobs()]
    assert [job_id for job_id in ran if job_id in ids] == ids
    states = dict(Job.objects.values_list("pk", "state"))
    found = {str(pk): state for pk, state in states.items()}
    assert [found[job_id] for job_id in (*ids, theirs)] == [
        *("succeeded", "failed", "succeeded"), "succeeded"
    ]  # fmt: skip
