"""What a job leaves behind at its limits is for the next one, whichever way it goes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_bgtasks import Limit, set_limit
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue, resume_queue
from django_bgtasks.jobs.waiting import admit_waiting
from django_bgtasks.models import Job
from django_bgtasks.monitoring.ahead import Waits, jobs_ahead

from .tasks import apply_payment, call_api, crawl_alone, send_mail, update_device

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB = "default"


def standing() -> list[tuple[str, str]]:
    """State of each job, and what it waits for, in the order in which they were enqueued."""
    return list(Job.objects.order_by("pk").values_list("state", "waits_for"))


def test_a_paused_queue_holds_no_seats_and_gets_them_again() -> None:
    for _ in range(4):
        send_mail.using(queue_name="emails").enqueue("a")
    other = send_mail.using(queue_name="uploads").enqueue("a")
    pause_queue("emails")
    assert Job.objects.get(pk=other.id).seat is not None
    assert standing() == [("blocked", "rate")] * 4 + [("queued", "")]
    resume_queue("emails")
    assert standing() == [("queued", "")] * 2 + [("blocked", "rate")] * 2 + [("queued", "")]


def test_a_job_with_a_place_and_a_seat_has_both_again_after_a_pause() -> None:
    crawl_alone.using(queue_name="emails").enqueue("a")
    pause_queue("emails")
    assert standing() == [("blocked", "lane")]
    resume_queue("emails")
    assert standing() == [("queued", "")]


def test_in_a_paused_queue_a_sequence_keeps_its_turn_and_no_seat() -> None:
    apply_payment.using(queue_name="emails").enqueue("a")
    pause_queue("emails")
    apply_payment.using(queue_name="uploads").enqueue("b")
    assert standing() == [("blocked", "rate"), ("queued", "")]
    paused, other = Job.objects.order_by("pk")
    assert (paused.place, other.place) == (1, 1)
    admit_waiting(DB)
    assert standing() == [("blocked", "rate"), ("queued", "")]
    ahead = jobs_ahead(paused, DB)
    assert ahead is not None
    assert ahead.code is Waits.PAUSED


def test_a_call_that_goes_to_another_lane_or_later_lets_the_next_one_in() -> None:
    one = Limit("api:{account}", at_once=1)
    replaced = call_api.using(limit=one, dedup_key="k", on_duplicate="replace")
    replaced.enqueue("a")
    call_api.using(limit=one).enqueue("a")
    call_api.using(limit=one).enqueue("b")
    replaced.enqueue("b")
    assert standing() == [("blocked", "lane"), ("queued", ""), ("queued", "")]
    replaced.enqueue("c")
    call_api.using(limit=one).enqueue("c")
    replaced.using(run_after=clock.now() + timedelta(hours=1)).enqueue("c")
    assert standing() == [("scheduled", "")] + [("queued", "")] * 3


@pytest.mark.parametrize("way", ["callable", "prefix"])
def test_a_job_that_does_not_wait_is_cancelled_where_none_may_begin(way: str) -> None:
    closed = update_device
    if way == "callable":
        closed = closed.using(limit=Limit("device:{device}", lambda _key: 0, when_busy="skip"))
    else:
        set_limit("device", 0, prefix=True)
    closed.enqueue("d")
    assert standing() == [("cancelled", "")]


def test_what_is_said_of_a_key_and_not_of_its_prefix_closes_it() -> None:
    set_limit("device", 0, prefix=True)
    set_limit("device:d", 1)
    update_device.enqueue("d")
    assert standing() == [("queued", "")]
