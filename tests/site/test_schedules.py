"""Reports by the clock: a member's own, and the nightly one of the code."""

from __future__ import annotations

from datetime import UTC, datetime
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from django_bgtasks.models import Schedule
from testproject.office.models import Report
from testproject.office.tasks.reports import build_report
from testproject.office.tasks.summaries import send_summary

PAGE = "/reports/schedule/"
MONDAY_AT_8 = {"day": "MON", "hour": "8", "zone": "Asia/Tokyo"}
# A Sunday: in Tokyo it is Monday an hour before midnight of this day in UTC.
SUNDAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEXT_SUNDAY = datetime(2026, 3, 8, 12, tzinfo=UTC)


def test_a_member_gets_a_report_every_monday_at_8_in_their_zone(
    browser: Client, ada: User, jobs: ModuleType
) -> None:
    page = browser.post(PAGE, MONDAY_AT_8, follow=True).text
    assert "every Monday at 08:00, Asia/Tokyo" in page
    assert "08:00</time>" in page
    ran = jobs.run_schedules(start=SUNDAY, until=NEXT_SUNDAY, only=[build_report])
    report = Report.objects.get()
    [job] = [job for job in ran if job.pk == report.job_id]
    assert (report.owner, job.owner) == (ada, ada)
    assert job.tick == datetime(2026, 3, 1, 23, tzinfo=UTC)
    assert ["ada@example.org"] in [message.to for message in mail.outbox]
    assert f"/jobs/{job.pk}/" in browser.get(PAGE).text


def test_a_member_changes_the_time_and_has_one_schedule_all_the_same(
    browser: Client, jobs: ModuleType
) -> None:
    browser.post(PAGE, MONDAY_AT_8)
    assert 'value="MON" selected' in browser.get(PAGE).text
    browser.post(PAGE, {"day": "*", "hour": "23", "zone": "UTC"})
    assert "every day at 23:00, UTC" in browser.get("/reports/").text
    assert Schedule.objects.count() == 1
    jobs.run_schedules(start=SUNDAY, until=datetime(2026, 3, 4, tzinfo=UTC), only=[build_report])
    assert Report.objects.count() == 3


def test_a_member_who_wants_no_more_gets_no_more(browser: Client, jobs: ModuleType) -> None:
    browser.post(PAGE, MONDAY_AT_8)
    page = browser.post(f"{PAGE}remove/", follow=True).text
    assert "Have one built by itself" in page
    browser.post(f"{PAGE}remove/")
    jobs.run_schedules(start=SUNDAY, until=NEXT_SUNDAY, only=[build_report])
    assert not Report.objects.exists()


def test_a_members_schedule_is_theirs_alone(browser: Client, ada: User) -> None:
    browser.post(PAGE, MONDAY_AT_8)
    other = Client()
    other.force_login(User.objects.create_user("ben"))
    assert "Monday at 08:00" not in other.get(PAGE).text
    other.post(f"{PAGE}remove/")
    assert Schedule.objects.get().owner == ada
    assert Client().post(PAGE, MONDAY_AT_8).headers["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize(
    "change", [{"zone": "Mars/Olympus"}, {"hour": "24"}, {"day": "1,2"}, {"hour": ""}]
)
def test_a_time_that_is_none_is_refused(browser: Client, change: dict[str, str]) -> None:
    response = browser.post(PAGE, {**MONDAY_AT_8, **change})
    assert response.status_code == 422
    assert 'class="field wrong"' in response.text
    assert not Schedule.objects.exists()


def test_the_staff_hear_every_night_what_was_made(jobs: ModuleType) -> None:
    User.objects.create_superuser("root", "root@example.org")
    ran = jobs.run_schedules(
        start=SUNDAY, until=datetime(2026, 3, 3, 12, tzinfo=UTC), only=[send_summary]
    )
    summaries = [job for job in ran if job.task.endswith("send_summary")]
    assert [job.tick for job in summaries] == [datetime(2026, 3, d, 3, tzinfo=UTC) for d in (2, 3)]
    assert summaries[0].result == {"pictures": 0, "imports": 0, "reports": 0}
    assert [m.to for m in mail.outbox] == [["root@example.org"]] * 2
    assert mail.outbox[0].subject == "What was made until 02 March 2026, 03:00 UTC"
