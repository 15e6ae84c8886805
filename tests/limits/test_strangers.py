"""What a stranger does with limits: in the admin, with paused queues, schedules and middleware."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client

from django_bgtasks import Rate
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import (
    cancel_job,
    pause_queue,
    resume_queue,
)
from django_bgtasks.jobs.execute import claim_jobs
from django_bgtasks.jobs.waiting import admit_waiting, put_off_if_late
from django_bgtasks.models import Job, Seat
from django_bgtasks.testing import run_jobs, without_redis

from .odd_tasks import in_order, limited, rated

pytestmark = pytest.mark.django_db(transaction=True)
DB, HOUR = "default", timedelta(hours=1)
JOBS = "/admin/django_bgtasks/job/"


@pytest.fixture(autouse=True)
def _no_messages() -> Iterator[None]:
    with without_redis():
        yield


def standing() -> list[tuple[str, int | None]]:
    return list(Job.objects.order_by("pk").values_list("state", "place"))


def test_selected_jobs_are_retried_in_the_order_of_their_sequence(admin_client: Client) -> None:
    jobs = [in_order.enqueue("a", number).id for number in range(3)]
    for job in jobs:
        cancel_job(job)
    fields = {"action": "retry_selected", "_selected_action": [str(job) for job in jobs]}
    admin_client.post(JOBS, fields)
    assert standing() == [("queued", 1), ("blocked", None), ("blocked", None)]


def test_a_paused_queue_keeps_no_start_of_a_rate_from_others() -> None:
    emails, uploads = rated.using(queue_name="emails"), rated.using(queue_name="uploads")
    emails.enqueue("a", 1)
    uploads.enqueue("a", 2)
    pause_queue("emails")
    admit_waiting(DB)
    assert [state for state, _ in standing()] == ["blocked", "queued"]
    assert len(run_jobs(["uploads"])) == 1
    resume_queue("emails")
    Seat.objects.update(free_at=F("free_at") - HOUR)
    admit_waiting(DB)
    assert [state for state, _ in standing()] == ["queued", "succeeded"]


def test_a_sequence_with_a_rate_in_a_paused_queue_keeps_its_place_and_no_start() -> None:
    both = in_order.using(rate=Rate("r", 1, per=60))
    both.using(queue_name="emails").enqueue("a", 1)
    rated.using(rate=Rate("r", 1, per=60)).enqueue("b", 2)
    pause_queue("emails")
    admit_waiting(DB)
    assert standing() == [("blocked", 1), ("queued", None)]
    assert len(run_jobs()) == 1
    Seat.objects.update(free_at=F("free_at") - HOUR)
    resume_queue("emails")
    assert len(run_jobs()) == 1


def test_a_start_that_was_late_keeps_its_seat_so_much_longer() -> None:
    """The period is one between the starts, and not between the moments they were planned for."""
    rated.enqueue("a")
    [job] = claim_jobs([Job.objects.get().pk], clock.new_id(), DB)
    before = Seat.objects.get().free_at
    job.seat_taken = (1, clock.monotonic() - 5)
    put_off_if_late(job, DB)
    assert Seat.objects.get().free_at - before >= timedelta(seconds=5)


def test_very_many_keys_of_one_batch_are_looked_at_some_at_a_time(
    django_assert_max_num_queries: Any,
) -> None:
    """Each statement looks for each number of its keys among the numbers of all of them."""
    with django_assert_max_num_queries(10):
        limited.enqueue_many([(f"key:{number}",) for number in range(450)])
    assert Job.objects.filter(state="queued", place=1).count() == 450
