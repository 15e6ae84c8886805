"""The pages of schedules in the admin, for a picture."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from playwright.sync_api import Page

from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.core.timing import Rule
from django_bgtasks.models import Schedule
from tests.interfaces.rows import make_cron_schedule, make_job, make_worker

URL = "/admin/django_bgtasks/schedule/"
REPORT = "testproject.office.tasks.reports.build_report"
SUMMARY = "testproject.office.tasks.summaries.send_summary"


def admin_no_schedules(user: User) -> str:
    """The list before the first one."""
    make_worker(dead_after=86_400.0)
    return URL


def some_schedules(user: User) -> Schedule:
    """One of each kind; the one that the code says and a person has changed."""
    now = clock.now()
    make_worker(dead_after=86_400.0)
    tokyo = {"cron": "0 8 * * MON", "zone": "Asia/Tokyo", "owner": user}
    goes_on(make_cron_schedule(name="report-42", task=REPORT, args=[42], **tokyo))
    make_cron_schedule(
        name="nightly-clean-up", every=600.0, zone="", next_at=now - timedelta(hours=2, minutes=5)
    )
    make_cron_schedule(
        name="newsletter", cron="30 7 * * MON-FRI", paused_at=now - timedelta(days=2),
        paused_by="anna", skipped=3,
    )  # fmt: skip
    make_cron_schedule(name="once-in-february", cron="0 0 29 2 *", next_at=None)
    goes_on(make_cron_schedule(name="import-prices", cron="0 5 * * *", task="shop.gone.prices"))
    row = make_cron_schedule(
        name=f"{SUMMARY}:summary", task=SUMMARY, args=[], source="code", overridden=True,
        skipped=12,
        error="QueueFull: the queue reports holds its max_depth of 1000 waiting jobs.",
        refused_at=now,
        options={"queue_name": "reports", "priority": 5},
    )  # fmt: skip
    for hours, state in ((3, State.SUCCEEDED), (2, State.SUCCEEDED), (1, State.FAILED)):
        tick = now - timedelta(hours=hours)
        make_job(state, task=row.task, schedule=row.pk, tick=tick, attempt=1)
    return row


def goes_on(row: Schedule) -> None:
    """Let its next tick be one of its own."""
    row.next_at = Rule.of(row).next_after(clock.now())
    row.save()


def admin_schedules(user: User) -> str:
    """The list."""
    some_schedules(user)
    return URL


def admin_schedule(user: User) -> str:
    """The page of a schedule that the code says and a person has changed."""
    return f"{URL}{some_schedules(user).pk}/change/"


def admin_schedule_form(user: User) -> str:
    """The form of it."""
    return f"{URL}{some_schedules(user).pk}/edit/"


def admin_make_up(user: User) -> str:
    """The form in which ticks are made up."""
    return f"{URL}{some_schedules(user).pk}/make-up/"


def count_ticks(page: Page) -> None:
    """Come to how many ticks are missing."""
    page.locator("#id_start").fill("2026-11-20T00:00:00")
    page.locator("#id_end").fill("2026-11-21T00:00:00")
    page.get_by_role("button", name="Count").click()
    page.get_by_text("ticks have no job there").wait_for()


def long_schedule(user: User) -> Schedule:
    """One in which all that can be long is, without a place to break it at."""
    many = ",".join(map(str, range(0, 60, 2)))
    return make_cron_schedule(
        name="report-of-" + "x" * 190, task="shop.reports." + "build_every_" * 18,
        cron=f"{many} {','.join(map(str, range(24)))} * * *", zone="America/Argentina/Buenos_Aires",
        kwargs={"caption": "x" * 3000, "k" * 120: "a holiday " * 300}, skipped=10**12,
        paused_at=clock.now(), paused_by="anna@" + "host" * 30, error="E" * 250, overridden=True,
        source="code", options={"queue_name": "q" * 100}, when="shop.days." + "is_workday_" * 20,
    )  # fmt: skip


def admin_long_schedules(user: User) -> str:
    """The list with long values."""
    some_schedules(user)
    long_schedule(user)
    return URL


def admin_long_schedule(user: User) -> str:
    """The page of a schedule with long values."""
    return f"{URL}{long_schedule(user).pk}/change/"


def admin_long_form(user: User) -> str:
    """The form of a schedule with long values."""
    return f"{URL}{long_schedule(user).pk}/edit/"


def refuse(page: Page) -> None:
    """Send a form that is wrong in several places."""
    page.get_by_label("Cron expression").fill("61 8 * * *")
    page.get_by_label("Time zone").fill("Europe/Berlim")
    page.get_by_label("Keyword arguments").fill("{")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Please correct").wait_for()
