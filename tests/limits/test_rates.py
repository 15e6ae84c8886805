"""How many jobs of a rate may start in a period."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db.models import F

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import cancel_job, run_job_anyway
from django_bgtasks.models import Job, Seat
from django_bgtasks.testing import run_jobs, without_redis

from .tasks import crawl, flaky, quick, send_mail

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_messages() -> Iterator[None]:
    with without_redis():
        yield


def standing() -> list[tuple[str, str]]:
    """State of each job, and what it waits for, in the order in which they were enqueued."""
    return list(Job.objects.order_by("pk").values_list("state", "waits_for"))


def let_pass(seconds: float) -> None:
    """Put all seats so much nearer."""
    Seat.objects.update(free_at=F("free_at") - timedelta(seconds=seconds))


def test_as_many_as_the_rate_allows_start_at_once_and_the_others_wait_for_a_period() -> None:
    for _ in range(5):
        send_mail.enqueue("a")
    send_mail.enqueue("b")
    assert len(run_jobs()) == 4
    assert standing() == [("succeeded", "")] * 3 + [("blocked", "rate")] * 2 + [("succeeded", "")]
    # The rest of the period is left to slow machines.
    let_pass(45)
    assert run_jobs() == []
    let_pass(18)
    assert len(run_jobs()) == 2


def test_many_at_once_are_let_in_in_their_order() -> None:
    send_mail.enqueue_many([("a",)] * 5)
    assert standing() == [("queued", "")] * 3 + [("blocked", "rate")] * 2


def test_each_attempt_is_a_start() -> None:
    job = flaky.enqueue()
    assert len(run_jobs()) == 3
    assert standing() == [("blocked", "rate")]
    assert Job.objects.get(pk=job.id).attempt == 3


def test_a_job_waits_for_its_place_first_and_holds_it_while_it_waits_for_a_seat() -> None:
    crawl.enqueue_many([("a",)] * 3)
    assert standing() == [("queued", ""), ("queued", ""), ("blocked", "lane")]
    run_jobs()
    crawl.enqueue_many([("a",)] * 3)
    assert standing()[3:] == [("blocked", "rate"), ("blocked", "rate"), ("blocked", "lane")]


def test_a_seat_that_a_cancelled_job_had_is_for_the_next_one() -> None:
    jobs = [send_mail.enqueue("a") for _ in range(4)]
    cancel_job(jobs[0].id)
    assert standing()[3] == ("queued", "")


def test_one_can_be_run_without_a_seat() -> None:
    jobs = [send_mail.enqueue("a") for _ in range(4)]
    run_job_anyway(jobs[3].id)
    assert len(run_jobs()) == 4
    assert Seat.objects.count() == 3


def test_a_seat_that_is_free_in_a_moment_is_waited_for() -> None:
    quick.enqueue_many([()] * 6)
    first = clock.monotonic()
    while Job.objects.exclude(state="succeeded").exists():
        run_jobs()
    assert clock.monotonic() - first > 0.55
    starts = sorted(float(str(job.result)) for job in Job.objects.all())
    gaps = [later - sooner for sooner, later in zip(starts, starts[2:], strict=False)]
    # Without the wait it would be less by 0.1 s; a busy machine may begin a little late.
    assert min(gaps) > 0.25
