"""A report of what was imported, for its owner only."""

from __future__ import annotations

import csv
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from testproject.demo import samples
from testproject.office.models import Report
from testproject.office.tasks import reports
from testproject.office.tasks.reports import build_report

from .conftest import upload


@pytest.fixture
def report(browser: Client, jobs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr(reports, "CHUNK", 10)
    text = samples.contacts(30) + b"<b>&amp;=1+1,=cmd@example.org,=HYPERLINK(),Graz\n"
    upload(browser, "/contacts/", "contacts.csv", text)
    jobs.run_jobs()
    response = browser.post("/reports/")
    assert response.status_code == 303
    jobs.run_jobs()
    return Report.objects.get()


def test_the_owner_downloads_all_contacts_as_csv(browser: Client, report: Report) -> None:
    response = browser.get(f"/reports/{report.pk}.csv")
    rows = list(csv.reader(response.getvalue().decode().splitlines()))
    assert len(rows) == 32
    assert rows[1] == ["Ada Moreau", "contact0@example.org", "Company 0", "Lyon"]
    assert rows[-1][1:3] == ["'=cmd@example.org", "'=HYPERLINK()"]
    assert response.headers["Content-Disposition"].startswith("attachment; filename=")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_owner_downloads_a_pdf(browser: Client, report: Report) -> None:
    response = browser.get(f"/reports/{report.pk}.pdf")
    assert response.headers["Content-Type"] == "application/pdf"
    assert response.getvalue().startswith(b"%PDF-")


def test_for_anybody_else_there_is_no_such_report(report: Report) -> None:
    other = Client()
    other.force_login(User.objects.create_superuser("root", password="x"))
    assert other.get(f"/reports/{report.pk}.csv").status_code == 404
    assert other.get(f"/reports/{report.pk}.pdf").status_code == 404
    assert Client().get(f"/reports/{report.pk}.csv").status_code == 302


def test_its_owner_gets_one_email_about_it(report: Report) -> None:
    assert [(m.subject, m.to) for m in mail.outbox] == [
        ("Your report is ready", ["ada@example.org"])
    ]


def test_pressing_twice_builds_one_report(browser: Client, jobs: ModuleType) -> None:
    assert (
        browser.post("/reports/").headers["Location"]
        == (browser.post("/reports/").headers["Location"])
    )
    jobs.run_jobs()
    assert Report.objects.get().rows == 0
    assert len(jobs.enqueued(build_report)) == 1
