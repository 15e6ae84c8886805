"""What people read of rates: what has started, who waits, and when the next one may start."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_bgtasks.core import clock
from django_bgtasks.models import Job, Seat
from django_bgtasks.monitoring import limits, rates
from django_bgtasks.monitoring.limits import Counted
from django_bgtasks.monitoring.rates import (
    RateFigures,
    find_rates,
    longest_rate_waits,
    rate_figures,
    rate_totals,
)
from django_bgtasks.testing import run_jobs

from .tasks import crawl, send_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB = "default"


def figures(key: str) -> RateFigures:
    """Those of one rate."""
    [found] = rate_figures([key], DB)
    return found


def test_a_rate_that_is_full_says_when_the_next_one_may_start() -> None:
    send_mail.enqueue_many([("a",)] * 5)
    run_jobs()
    Job.objects.update(enqueued_at=clock.now() - timedelta(minutes=1))
    found = figures("mail:a")
    assert (found.started, found.allowed, found.per) == (3, 3, 60.0)
    assert found.waiting == Counted(2)
    assert 50 < (found.next_start or 0) < 61
    # SQLite counts in parts of a day.
    assert (found.oldest or 0) > 59.9


def test_where_a_seat_is_free_the_next_one_may_start_now() -> None:
    send_mail.enqueue_many([("a",)] * 5)
    run_jobs()
    Seat.objects.filter(number=2).update(free_at=F("free_at") - timedelta(seconds=100))
    found = figures("mail:a")
    assert (found.started, found.next_start) == (2, 0.0)


def test_starts_that_others_are_about_to_use_are_not_for_the_next_one() -> None:
    send_mail.enqueue_many([("a",)] * 2)
    run_jobs()
    send_mail.enqueue_many([("a",)] * 2)
    assert Job.objects.filter(seat__isnull=False).count() == 1
    assert (figures("mail:a").next_start or 0) > 50


def test_a_rate_for_which_nobody_waits_says_only_what_has_started() -> None:
    send_mail.enqueue("a")
    run_jobs()
    assert figures("mail:a") == RateFigures("mail:a", started=1)
    assert figures("mail:b") == RateFigures("mail:b")
    assert longest_rate_waits(5, DB) == []


def test_the_rates_for_which_most_wait_come_first() -> None:
    send_mail.enqueue_many([("a",)] * 4 + [("b",)] * 6 + [("c",)])
    run_jobs()
    found = find_rates(DB)
    assert found.keys == ("mail:b", "mail:a", "mail:c")
    assert found.waiting["mail:b"] == Counted(3)
    assert find_rates(DB, ":C").keys == ("mail:c",)
    assert [rate.key for rate in longest_rate_waits(1, DB)] == ["mail:a"]


def test_what_has_started_and_waits_is_summed_by_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    send_mail.enqueue_many([("a",)] * 4 + [("b",)] * 4)
    crawl.enqueue("a")
    run_jobs()
    [mail, rest] = rate_totals(DB)
    assert (mail.prefix, mail.started, mail.waiting) == ("mail", 6, 2)
    assert 0 < mail.next_start < 61
    assert (rest.prefix, rest.waiting, rest.next_start) == ("crawl", 0, 0.0)
    monkeypatch.setattr(rates, "PREFIXES", 0)
    [others] = rate_totals(DB)
    assert (others.prefix, others.waiting) == (None, 2)


def test_no_more_statements_for_many_rates_than_for_one() -> None:
    hosts = [(f"host{number}",) for number in range(40)]
    send_mail.enqueue_many(hosts)
    run_jobs()
    # Two of each have a seat now, and one waits.
    send_mail.enqueue_many(hosts * 3)
    with CaptureQueriesContext(connection) as queries:
        keys = find_rates(DB).keys
        assert [rate.waiting for rate in rate_figures(keys, DB)] == [Counted(1)] * 40
        rate_totals(DB)
    assert len(queries) <= 8


def test_rates_beyond_those_that_are_looked_at_are_said_to_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send_mail.enqueue_many([(host,) for host in "abcde"])
    run_jobs()
    for module in (limits, rates):
        monkeypatch.setattr(module, "LANES", 3)
    found = find_rates(DB)
    assert (len(found.keys), found.is_more) == (3, True)
    assert "mail:e" in find_rates(DB, "mail:e").keys


def test_the_page_of_limits_and_the_dashboard_show_rates(admin_client: Client) -> None:
    send_mail.enqueue_many([("a",)] * 5)
    run_jobs()
    for path in ("limitoverride/", "dashboard/"):
        html = admin_client.get(f"/admin/django_bgtasks/{path}").content.decode()
        section = html.split('id="bgtasks-rates-heading"')[1].split("</section>")[0]
        assert "mail:a" in section
        assert "3 / 3" in section
        assert re.search(r"in (5\d\.\d s|60\.\d s|1 min)", section)
    assert 'id="bgtasks-rates"' in html
