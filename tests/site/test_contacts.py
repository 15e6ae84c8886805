"""A CSV file becomes contacts: in chunks, and never twice."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from django.test import Client

from django_bgtasks.models import Job
from testproject.demo import samples
from testproject.office.models import Contact, Import, Tally
from testproject.office.tasks import contacts

from .conftest import upload

HEAD = b"name,email,company,city\n"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "CHUNK", 10)


def test_every_row_becomes_a_contact_and_bad_ones_are_named(
    browser: Client, jobs: ModuleType
) -> None:
    job_id = upload(browser, "/contacts/", "contacts.csv", samples.contacts(25))
    jobs.run_jobs()
    job = Job.objects.get(pk=job_id)
    assert job.result == {"contacts": 25, "skipped": 1}
    assert job.progress is not None
    assert job.progress["done"] == job.progress["total"] == Import.objects.get().size
    assert Contact.objects.count() == 25
    assert Import.objects.get().problems == ["no name or no email address: nobody,,,"]
    assert Tally.objects.get(name="contacts").count == 25


def test_the_same_file_twice_is_one_job_even_after_it_was_imported(
    browser: Client, jobs: ModuleType
) -> None:
    first = upload(browser, "/contacts/", "a.csv", samples.contacts(5))
    assert upload(browser, "/contacts/", "b.csv", samples.contacts(5)) == first
    jobs.run_jobs()
    assert upload(browser, "/contacts/", "c.csv", samples.contacts(5)) == first
    assert Contact.objects.count() == 5


def test_an_attempt_goes_on_where_the_last_one_was_cut_off(
    browser: Client, jobs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = samples.contacts(25).replace(b"Company 7", '"Com\n""pány"" 7"'.encode())
    job_id = upload(browser, "/contacts/", "contacts.csv", text)
    cut_off_after(2, monkeypatch)
    jobs.run_jobs()
    assert Contact.objects.count() == 20
    Job.objects.filter(pk=job_id).update(run_after="2000-01-01T00:00Z")
    jobs.run_jobs()
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    emails = list(Contact.objects.values_list("email", flat=True))
    assert emails == [f"contact{i}@example.org" for i in range(25)]
    assert Contact.objects.get(email="contact7@example.org").company == 'Com\n"pány" 7'


def cut_off_after(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt loses its connection after so many chunks."""
    store = contacts.store
    stored: list[Any] = []

    def failing(*args: Any) -> None:
        if len(stored) == chunks:
            monkeypatch.setattr(contacts, "store", store)
            raise ConnectionError("the network is away")
        stored.append(args)
        store(*args)

    monkeypatch.setattr(contacts, "store", failing)


def test_of_two_attempts_that_overlap_only_one_moves_the_import(
    browser: Client, jobs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = upload(browser, "/contacts/", "contacts.csv", samples.contacts(25))
    store = contacts.store

    def overtaken(source: Import, lines: contacts.Lines, rows: list[Any]) -> None:
        Import.objects.filter(pk=source.pk).update(offset=lines.offset)
        store(source, lines, rows)

    monkeypatch.setattr(contacts, "store", overtaken)
    jobs.run_jobs()
    assert Contact.objects.count() == 0
    assert Job.objects.get(pk=job_id).state == "scheduled"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has no column email and no name"),
        (b"name,mail\nAda,a@example.org\n", "has no column email"),
        (HEAD + b"Ada,a@example.org,\xff\xfe\n", "line 2 is not UTF-8"),
        (HEAD + b"a" * 70_000, "line 2 is longer than 65536 bytes"),
        (HEAD + b'"' + b"a\n" * 70_000, "is not valid CSV"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "line 1 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_contacts_fails_at_once_and_says_why(
    content: bytes, why: str, browser: Client, jobs: ModuleType
) -> None:
    # An empty file is refused by the form, so this one has a byte.
    job_id = upload(browser, "/contacts/", "bad.csv", content or b"\n")
    jobs.run_jobs()
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert why in job.error


def test_a_byte_order_mark_and_columns_in_any_order_are_taken(
    browser: Client, jobs: ModuleType
) -> None:
    text = "\ufeffEmail , phone,NAME\r\na@example.org,1,Ada\r\n"
    upload(browser, "/contacts/", "a.csv", text.encode())
    jobs.run_jobs()
    assert str(Contact.objects.get()) == "Ada <a@example.org>"


def test_an_import_is_shown_to_its_owner_only(
    browser: Client, jobs: ModuleType, client: Client
) -> None:
    upload(browser, "/contacts/", "a.csv", samples.contacts(5))
    jobs.run_jobs()
    path = Import.objects.get().get_absolute_url()
    assert "contact0@example.org" in browser.get(path).text
    assert Client().get(path).status_code == 302
