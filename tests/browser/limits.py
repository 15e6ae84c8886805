"""The pages of limits and sequences in the admin, for a picture."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from playwright.sync_api import Page

from django_bgtasks import set_limit
from django_bgtasks.core import clock
from django_bgtasks.core.states import State, WaitsFor
from django_bgtasks.ledger.history import Actor
from django_bgtasks.models import Job, Seat
from tests.interfaces.rows import make_job, make_worker

ADMIN = "/admin/django_bgtasks/"
LIST, JOBS = f"{ADMIN}limitoverride/", f"{ADMIN}job/"
CHARGE, EVENT = "shop.payments.charge", "shop.orders.apply_event"
LONG = "warehouse:" + "a-key-of-a-device-without-a-space/" * 7 + "123456"


def admin_no_limits(user: User) -> str:
    """The page before the first one."""
    return LIST


def admin_limits(user: User) -> str:
    """A limit that is full, one that a person has changed, sequences, one of which is held."""
    some_limits(user)
    return LIST


def admin_rates(user: User) -> str:
    """A rate that is full, one that is not waited for, and one with a long key."""
    some_limits(user)
    some_rates()
    return LIST


def show_rates(page: Page) -> None:
    """That part of a page."""
    page.locator("#bgtasks-rates-heading").evaluate("part => part.scrollIntoView()")


def rates_on_the_dashboard(user: User) -> str:
    """The section of the rates for which jobs wait longest."""
    make_worker(dead_after=86_400.0)
    some_rates()
    return f"{ADMIN}dashboard/"


def admin_long_limits(user: User) -> str:
    """Keys as long as they may be."""
    line(LONG, 3, 12, label="a label " * 25)
    order(f"{LONG}2")
    set_limit(LONG, 7, by=Actor(user.get_username(), "admin"))
    return LIST


def admin_many_limits(user: User) -> str:
    """Ten thousand keys."""
    now = clock.now()
    rows = (
        make_waiting(
            task=EVENT, enqueued_at=now, lane=f"order:{number}", lane_mode="hold", at_once=1
        )
        for number in range(10_050)
    )
    Job.objects.bulk_create(rows, batch_size=500)
    return LIST


def admin_waiting_jobs(user: User) -> str:
    """The list with jobs that wait, and one that holds a sequence."""
    some_limits(user)
    return JOBS


def admin_waiting_job(user: User) -> str:
    """A job that waits for a place."""
    return f"{JOBS}{some_limits(user)[0].pk}/change/"


def admin_holding_job(user: User) -> str:
    """A failed job behind which its sequence waits."""
    return f"{JOBS}{some_limits(user)[1].pk}/change/"


def admin_long_waiting_job(user: User) -> str:
    """A job that waits at a key as long as it may be."""
    return f"{JOBS}{line(LONG, 3, 12, label='a label ' * 25).pk}/change/"


def limits_on_the_dashboard(user: User) -> str:
    """The section of the limits in which jobs wait longest."""
    make_worker(dead_after=86_400.0)
    some_limits(user)
    line(LONG, 2, 3)
    return f"{ADMIN}dashboard/"


def refuse_a_key(page: Page) -> None:
    """A form that is sent back."""
    page.locator("#id_key").fill("stripe:42")
    page.locator("#id_is_prefix").check()
    page.locator(".submit-row [type=submit]").click()
    page.get_by_text("Please correct").first.wait_for()


def show_limits(page: Page) -> None:
    """That part of the dashboard."""
    page.locator("#bgtasks-limits").evaluate("part => part.scrollIntoView()")


def press_run_anyway(page: Page) -> None:
    """The question before it."""
    page.get_by_role("button", name="Run anyway").click()
    page.get_by_role("button", name="I’m sure").wait_for()


def some_limits(user: User) -> tuple[Job, Job]:
    """The last job that waits at the first limit, and the failed one that holds a sequence."""
    by = Actor(user.get_username(), "admin")
    last = line("stripe:42", 5, 1300)
    line("stripe:43", 2, 0)
    line("mail:example.com", 1, 14, label="newsletter to example.com")
    set_limit("stripe", 5, prefix=True, by=by)
    set_limit("mail:example.com", 0, by=by)
    failed = order("order:4711")
    order("order:4712", State.RUNNING, 1)
    return last, failed


def some_rates() -> None:
    """Seats that are taken for a while, and jobs that wait for the next one."""
    now = clock.now()
    for key, count, per, waits in (
        ("sms:fr", 3, 86_400.0, 1200),
        ("maps", 100, 7200.0, 0),
        (LONG, 40, 90_000.0, 7),
    ):
        Seat.objects.bulk_create(
            Seat(rate=key, number=number + 1, free_at=now + timedelta(seconds=per - number - 1))
            for number in range(count)
        )
        values = {"task": CHARGE, "rate": key, "starts": count, "per": per}
        rows = [make_waiting(enqueued_at=now - timedelta(hours=3), **values) for _ in range(waits)]
        for row in rows:
            row.waits_for = WaitsFor.RATE
        Job.objects.bulk_create(rows, batch_size=500)


def line(key: str, holds: int, waits: int, **fields: Any) -> Job:
    """Jobs of one limit; the last of them."""
    values = {"task": CHARGE, "lane": key, "lane_mode": "wait", "at_once": max(1, holds), **fields}
    jobs = [
        make_job(State.RUNNING, place=number + 1, attempt=1, **values) for number in range(holds)
    ]
    long_ago = clock.now() - timedelta(hours=3)
    rows = [
        make_waiting(enqueued_at=long_ago + timedelta(seconds=number), **values)
        for number in range(waits)
    ]
    Job.objects.bulk_create(rows, batch_size=500)
    return [*jobs, *rows][-1]


def make_waiting(**fields: Any) -> Job:
    """A row that is not there yet."""
    waits = {"state": State.BLOCKED, "waits_for": WaitsFor.LANE}
    return Job(queue="default", timeout=60, backend="default", **waits, **fields)


def order(key: str, state: str = State.FAILED, waits: int = 3) -> Job:
    """A sequence; its holder."""
    values = {"task": EVENT, "lane": key, "lane_mode": "hold", "at_once": 1}
    error = {"error": "ValueError: no such order"} if state == State.FAILED else {}
    holder = make_job(state, place=1, attempt=1, **values, **error)
    for _ in range(waits):
        make_job(State.BLOCKED, **values)
    return holder
