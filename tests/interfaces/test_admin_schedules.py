"""The admin of schedules: what the list and the pages say."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from django_bgtasks import testing
from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.models import Job, Schedule

from .rows import make_cron_schedule, make_job, make_worker

pytestmark = pytest.mark.django_db
Staff = Callable[..., Client]
LIST = "/admin/django_bgtasks/schedule/"
SOON = datetime(2027, 1, 15, 12, tzinfo=UTC)


def html_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def names_in(html: str) -> list[str]:
    return re.findall(r'schedule/[0-9a-f-]+/change/[^"]*">([\w<>-]+?)<span', html)


def test_an_empty_list_says_how_schedules_come(admin_client: Client) -> None:
    html = html_of(admin_client, LIST)
    assert "No schedules yet" in html
    assert "set_schedule(…)" in html
    assert "No schedule matches" in html_of(admin_client, f"{LIST}?state=paused")


def test_the_list_shows_the_next_five_times_in_both_zones(admin_client: Client) -> None:
    make_cron_schedule(
        cron="0 8 * * *", zone="Asia/Tokyo", next_at=datetime(2027, 1, 15, 23, tzinfo=UTC)
    )
    with timezone.override("America/New_York"):
        html = html_of(admin_client, LIST)
    for day in (16, 17, 18, 19, 20):
        assert f"Jan. {day}, 2027 08:00 JST" in html
        assert f"Jan. {day - 1}, 2027 18:00 EST" in html
    assert "Jan. 21, 2027 08:00" not in html
    assert '<th scope="col">Asia/Tokyo</th>' in html
    assert '<th scope="col">America/New_York</th>' in html


def test_an_hour_that_comes_twice_is_told_apart_by_the_name_of_its_zone(
    admin_client: Client,
) -> None:
    make_cron_schedule(cron="30 * * * *", next_at=datetime(2027, 10, 31, 0, 30, tzinfo=UTC))
    html = html_of(admin_client, LIST)
    assert "02:30 CEST" in html
    assert "02:30 CET" in html


def test_the_list_says_how_the_last_job_ended_and_links_to_it(admin_client: Client) -> None:
    row, now = make_cron_schedule(), clock.now()
    make_job(State.SUCCEEDED, schedule=row.pk, tick=now - timedelta(hours=2))
    failed = make_job(State.FAILED, schedule=row.pk, tick=now - timedelta(hours=1))
    make_cron_schedule(name="another")
    html = html_of(admin_client, LIST)
    [cell] = re.findall(r'field-last_run">(<a.*?)</td>', html, re.DOTALL)
    assert str(failed.pk) in cell
    assert "Failed" in cell
    assert "1 hour ago" in cell.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("fields", "badge"),
    [
        ({}, "active"),
        ({"paused_at": SOON, "paused_by": "ada", "task": "shop.gone.task"}, "paused"),
        ({"next_at": timedelta(hours=-3)}, "late"),
        ({"next_at": None}, "ended"),
        ({"task": "shop.gone.task", "next_at": timedelta(hours=-3)}, "unknown-task"),
        ({"source": "code", "next_at": timedelta(hours=-3)}, "undeclared"),
        ({"error": "QueueFull", "refused_at": SOON, "next_at": timedelta(hours=-3)}, "refused"),
    ],
)
def test_the_state_of_a_schedule_is_what_keeps_it_from_firing(
    admin_client: Client, fields: Any, badge: str
) -> None:
    if isinstance(ahead := fields.get("next_at"), timedelta):
        fields = {**fields, "next_at": clock.now() + ahead}
    row = make_cron_schedule(**fields)
    for url in (LIST, f"{LIST}{row.pk}/change/", f"{LIST}?state={badge}"):
        html = html_of(admin_client, url)
        assert f"bgtasks-is-{badge}" in html
        assert ("by ada" in html) is (badge == "paused")


def test_the_list_says_how_many_ticks_got_no_job(admin_client: Client) -> None:
    make_cron_schedule(skipped=1)
    make_cron_schedule(name="more", skipped=1234)
    html = html_of(admin_client, LIST)
    assert "1 tick skipped" in html
    assert re.search(r"1.?234 ticks skipped", html)


def test_a_tick_that_waits_for_an_earlier_job_is_not_late(admin_client: Client) -> None:
    overdue = clock.now() - timedelta(hours=3)
    row = make_cron_schedule(name="patient", overlap="wait", next_at=overdue)
    make_job(State.RUNNING, schedule=row.pk, tick=overdue - timedelta(hours=1))
    for url in (LIST, f"{LIST}{row.pk}/change/", f"{LIST}?state=active"):
        assert "bgtasks-is-active" in html_of(admin_client, url)
    assert names_in(html_of(admin_client, f"{LIST}?state=late")) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=paused", ["paused"]),
        ("state=late", ["late"]),
        ("state=ended", ["over"]),
        ("state=unknown-task", ["gone"]),
        ("state=undeclared", ["overridden"]),
        ("state=refused", ["refused"]),
        ("state=active", ["active", "failing"]),
        ("state=overridden", ["overridden"]),
        ("state=failing", ["failing"]),
        ("source=code", ["overridden"]),
        ("task=tests.app.tasks.echo", ["late"]),
        ("q=AIL", ["failing"]),
        ("q=shop.gone", ["gone"]),
        ("q=ada", ["over"]),
        ("q=da", []),
        ("task=%00", []),
    ],
)
def test_filters_and_search_find(
    admin_client: Client, django_user_model: Any, query: str, found: list[str]
) -> None:
    ada, now = django_user_model.objects.create_user("ada"), clock.now()
    make_cron_schedule(name="active")
    make_cron_schedule(name="paused", paused_at=now, next_at=now - timedelta(days=3))
    make_cron_schedule(name="late", next_at=now - timedelta(hours=3), task="tests.app.tasks.echo")
    make_cron_schedule(name="over", next_at=None, owner=ada)
    make_cron_schedule(name="gone", task="shop.gone.task", next_at=now - timedelta(hours=3))
    make_cron_schedule(
        name="refused", error="QueueFull", refused_at=now, next_at=now - timedelta(hours=3)
    )
    make_cron_schedule(name="overridden", source="code", overridden=True)
    failing = make_cron_schedule(name="failing")
    make_job(State.SUCCEEDED, schedule=failing.pk, tick=now - timedelta(hours=2))
    make_job(State.FAILED, schedule=failing.pk, tick=now - timedelta(hours=1))
    assert names_in(html_of(admin_client, f"{LIST}?{query}")) == found


@pytest.mark.parametrize("query", ["", "?state=failing", "?state=late", "?q=few"])
def test_more_schedules_cost_the_list_no_more_statements(admin_client: Client, query: str) -> None:
    counts = []
    for number in (3, 40):
        for n in range(number):
            row = make_cron_schedule(name=f"few-{number}-{n}")
            make_job(State.FAILED, schedule=row.pk, tick=clock.now())
        with CaptureQueriesContext(connection) as captured:
            html_of(admin_client, f"{LIST}{query}")
        counts.append(len(captured))
    assert counts[1] <= counts[0] <= 12


def test_the_page_of_a_schedule_shows_all_of_it(admin_client: Client, admin_user: Any) -> None:
    row = make_cron_schedule(
        owner=admin_user, about=admin_user, options={"queue_name": "reports"}, skipped=1234,
        error="QueueFull: the queue reports is full", catch_up="all", overlap="wait", grace=7200.0,
        jitter=30.0, when="shop.days.is_workday",
    )  # fmt: skip
    job = make_job(State.FAILED, schedule=row.pk, tick=clock.now())
    html = html_of(admin_client, f"{LIST}{row.pk}/change/")
    for text in (
        *("tests.app.tasks.add", "reports", "1234", "QueueFull", "shop.days.is_workday"),
        *("A job for each of them", "The tick waits until", "2 h", "30.0 s", "Europe/Berlin"),
        *(f"job/{job.pk}/change/", f"job/?schedule={row.pk}", "user: admin"),
    ):
        assert text in html, text


def test_the_last_jobs_have_their_ticks_by_the_clock_of_the_schedule(admin_client: Client) -> None:
    row = make_cron_schedule(cron="0 2 * * *", zone="Asia/Tokyo")
    make_job(State.FAILED, schedule=row.pk, tick=datetime(2027, 1, 14, 17, tzinfo=UTC))
    html = html_of(admin_client, f"{LIST}{row.pk}/change/")
    assert "Fri Jan. 15, 2027 02:00 JST</a>" in html


def test_a_task_that_is_gone_is_said_on_the_page(admin_client: Client) -> None:
    row = make_cron_schedule(task="shop.gone.task")
    assert "has no such task" in html_of(admin_client, f"{LIST}{row.pk}/change/")


def test_a_job_has_its_schedule_and_tick_and_the_list_is_filtered_by_it(
    admin_client: Client,
) -> None:
    row = make_cron_schedule(name="nightly-report")
    job = make_job(State.FAILED, schedule=row.pk, tick=SOON)
    other = make_job(State.FAILED)
    page = html_of(admin_client, f"/admin/django_bgtasks/job/{job.pk}/change/")
    assert f'href="{LIST}{row.pk}/change/">nightly-report</a>' in page
    assert "Jan. 15, 2027 12:00:00" in page
    jobs = html_of(admin_client, f"/admin/django_bgtasks/job/?schedule={row.pk}")
    assert str(job.pk) in jobs
    assert str(other.pk) not in jobs
    assert ">nightly-report</a>" in jobs
    Schedule.objects.all().delete()
    assert str(row.pk) in html_of(admin_client, f"/admin/django_bgtasks/job/{job.pk}/change/")
    for query in ("schedule=nonsense", "schedule=%00"):
        assert "No job matches" in html_of(admin_client, f"/admin/django_bgtasks/job/?{query}")


def test_who_may_not_see_jobs_sees_none_of_them_on_the_page(staff: Staff) -> None:
    row = make_cron_schedule()
    job = make_job(State.FAILED, schedule=row.pk, tick=SOON)
    html = html_of(staff("view_schedule"), f"{LIST}{row.pk}/change/")
    assert str(job.pk) not in html


def test_sensitive_arguments_are_masked(staff: Staff) -> None:
    row = make_cron_schedule(task="tests.app.tasks.echo", args=[], kwargs={"password": "hunter2"})
    client = staff("view_schedule", "change_schedule")
    for page in ("change", "edit"):
        html = html_of(client, f"{LIST}{row.pk}/{page}/")
        assert "hunter2" not in html
        assert "********************" in html


def test_a_rule_that_this_version_cannot_read_breaks_no_page(admin_client: Client) -> None:
    row = make_cron_schedule(cron="0 0 1 1 nonsense", zone="Mars/Olympus")
    for url in (LIST, f"{LIST}{row.pk}/change/", f"{LIST}{row.pk}/edit/", f"{LIST}?q=hourly"):
        assert "nonsense" in html_of(admin_client, url)
    url, day = f"{LIST}{row.pk}/make-up/", {"start": "2026-11-20T00:00", "end": "2026-11-21T00:00"}
    assert "Mars/Olympus" in html_of(admin_client, url)
    assert "There is no time zone" in admin_client.post(url, day).content.decode()
    Schedule.objects.update(zone="UTC")
    assert "nonsense" in admin_client.post(url, day).content.decode()


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("cron=0+8+*+*+MON&zone=Asia/Tokyo", ["Mon ", "08:00 JST", "Asia/Tokyo"]),
        ("every_0=90&every_1=60", ["in 1 hour", "in 2 hours", "in 7 hours"]),
        ("cron=61+*+*+*+*", ["The minute", "0 to 59"]),
        ("cron=0+8+*+*+*&zone=Europe/Berlim", ["Europe/Berlin"]),
        ("cron=0+8+*+*+*&every_0=5&every_1=60", ["not both"]),
        ("cron=0+0+30+2+*", ["never"]),
        ("cron=%00", ["Null characters are not allowed"]),
        ("every_0=-1&every_1=60", ["greater than or equal to 0"]),
        ("every_0=nonsense&every_1=60", ["Enter a number"]),
        ("every_0=5&every_1=7", ["Select a valid choice"]),
        ("every_0=0.1&every_1=1", ["interval"]),
        ("", ["Fill in a cron expression or an interval"]),
        ("cron=" + "9" * 300, ["at most 255 characters"]),
        ("schedule=nonsense&cron=@daily", ["00:00"]),
    ],
)
def test_the_preview_says_what_is_typed_or_what_is_wrong_with_it(
    admin_client: Client, query: str, texts: list[str]
) -> None:
    html = html_of(admin_client, f"{LIST}preview/?{query}").replace("\xa0", " ")
    for text in texts:
        assert text in html, html


def test_the_preview_of_an_edited_interval_goes_on_from_where_it_began(
    admin_client: Client,
) -> None:
    anchor = clock.now().replace(minute=17, second=0, microsecond=0)
    row = make_cron_schedule(every=3600.0, anchor=anchor)
    query = f"every_0=2&every_1=3600&schedule={row.pk}"
    html = html_of(admin_client, f"{LIST}preview/?{query}")
    assert len(re.findall(r"\d\d:17 UTC", html)) == 5


def test_the_preview_is_for_who_may_add_or_edit(staff: Staff) -> None:
    client = staff("view_schedule")
    assert client.get(f"{LIST}preview/?cron=@daily").status_code == 403
    for page in ("add/", f"{make_cron_schedule().pk}/edit/"):
        assert client.get(f"{LIST}{page}").status_code == 403


def test_the_dashboard_shows_what_is_wrong_with_schedules_one_click_from_its_cause(
    admin_client: Client, staff: Staff
) -> None:
    url, now = "/admin/django_bgtasks/dashboard/", clock.now()
    assert "bgtasks-schedules" not in html_of(admin_client, url)
    rows = {
        "late": make_cron_schedule(name="late-one", next_at=now - timedelta(hours=3)),
        "paused": make_cron_schedule(name="paused-one", paused_at=now, paused_by="ada"),
        "unknown-task": make_cron_schedule(name="unknown-task-one", task="shop.gone.task"),
        "failing": make_cron_schedule(name="failing-one"),
    }
    make_job(State.FAILED, schedule=rows["failing"].pk, tick=now)
    make_worker()
    html = html_of(admin_client, url)
    problems, _found, panel = html.partition('id="bgtasks-schedules"')
    for state, row in rows.items():
        link = f'<a href="{LIST}{row.pk}/change/">'
        assert f'{LIST}?state={state}">1</a> {link}{state}-one</a>' in panel
        assert link in problems
    make_cron_schedule(name="late-two", next_at=now - timedelta(hours=3))
    assert f'<a href="{LIST}?state=late">2 schedules are late' in html_of(admin_client, url)
    # Who may not see schedules sees no link here, and no name in the panel.
    html = html_of(staff("view_dashboard"), url)
    assert LIST not in html
    assert "late-one" not in html.partition("bgtasks-schedules")[2]


def test_the_next_tick_on_the_dashboard_is_one_to_come(admin_client: Client) -> None:
    make_cron_schedule(name="late", next_at=clock.now() - timedelta(hours=3))
    make_cron_schedule(name="soon", next_at=clock.now() + timedelta(hours=2, minutes=30))
    soon = clock.now() + timedelta(minutes=5)
    make_cron_schedule(name="gone", task="shop.gone.task", next_at=soon)
    html = html_of(admin_client, "/admin/django_bgtasks/dashboard/")
    assert "in 2 h 29 min" in html or "in 2 h 30 min" in html


def test_a_site_without_time_zones_sees_and_makes_up_the_same_ticks(
    admin_client: Client, settings: Settings
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    # Without time zones a row has the site's clock.
    due = (clock.now() + timedelta(hours=1)).astimezone(ZoneInfo("America/New_York"))
    moments = {"anchor": datetime(2026, 1, 1), "next_at": due.replace(tzinfo=None)}  # noqa: DTZ001
    row = make_cron_schedule(cron="0 8 * * *", zone="Asia/Tokyo", **moments)
    url, span = f"{LIST}{row.pk}/", {"start": "2026-11-20T07:00", "end": "2026-11-20T09:00"}
    for page in (LIST, f"{url}change/", f"{url}edit/", f"{url}make-up/"):
        assert "Asia/Tokyo" in html_of(admin_client, page)
    assert "1 tick has no job there" in admin_client.post(f"{url}make-up/", span).content.decode()
    with testing.without_redis():
        admin_client.post(f"{url}make-up/", {**span, "confirm": "1"})
    tick = Job.objects.get().tick
    assert tick is not None
    assert clock.in_utc(tick) == datetime(2026, 11, 19, 23, tzinfo=UTC)
    assert "Nothing is missing there." in admin_client.post(f"{url}make-up/", span).content.decode()
    assert "Fri Nov. 20, 2026 08:00 JST" in html_of(admin_client, f"{url}change/")
