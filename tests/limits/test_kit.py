"""Limits and sequences in a test of a site, whose transaction never commits."""

from __future__ import annotations

import pytest

from django_bgtasks.models import Job
from django_bgtasks.testing import enqueued, run_jobs

from .tasks import apply_event, call_api, read_feed, update_device

pytestmark = pytest.mark.django_db


def test_all_jobs_of_a_limit_run() -> None:
    call_api.enqueue_many([("a", n) for n in range(5)])
    assert [job.args[1] for job in run_jobs()] == [0, 1, 2, 3, 4]
    assert not Job.objects.live().exists()


def test_a_sequence_runs_in_its_order_and_stops_behind_one_that_fails() -> None:
    for event in range(4):
        apply_event.enqueue("o", event, fails=event == 2)
    assert [job.args[1] for job in run_jobs()] == [0, 1, 2]
    assert [job.state for job in enqueued(apply_event)][2:] == ["failed", "blocked"]


def test_one_that_fails_and_does_not_hold_its_sequence_is_followed_by_the_next() -> None:
    read_feed.using(retry=None).enqueue("f", fails=True)
    read_feed.enqueue("f")
    jobs = run_jobs()
    assert [job.state for job in jobs] == ["scheduled"]


def test_a_job_that_does_not_wait_is_skipped_in_its_order() -> None:
    for _ in range(3):
        update_device.enqueue("d")
    assert len(run_jobs()) == 1
    assert [job.state for job in enqueued(update_device)] == ["succeeded", *["cancelled"] * 2]


def test_only_the_jobs_of_the_queues_that_are_named_run() -> None:
    for number, queue in enumerate(["emails", "default", "emails"]):
        apply_event.using(queue_name=queue).enqueue("o", number)
    assert [job.args[1] for job in run_jobs(["emails"])] == [0]
    assert [job.args[1] for job in run_jobs(["default", "emails"])] == [1, 2]
