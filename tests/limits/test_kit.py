"""Limits and sequences in a test of a site, whose transaction never commits."""

from __future__ import annotations

from typing import Any

import pytest

from django_bgtasks.models import Job
from django_bgtasks.testing import enqueued, inline_jobs, run_jobs

from .tasks import apply_event, call_api, read_feed, send_mail, update_device

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


def test_as_many_of_a_rate_run_as_may_start_now() -> None:
    send_mail.enqueue_many([("a",)] * 5)
    assert len(run_jobs()) == 3
    assert [job.state for job in enqueued(send_mail)][3:] == ["blocked"] * 2


def test_inline_jobs_have_no_limit_and_wait_for_nobody(
    django_capture_on_commit_callbacks: Any,
) -> None:
    """Elsewhere they enqueue themselves again and again."""
    with inline_jobs(), django_capture_on_commit_callbacks(execute=True):
        for number in range(3):
            call_api.enqueue("a", number)
    assert [(job.state, job.lane) for job in enqueued(call_api)] == [("succeeded", None)] * 3


def test_only_the_jobs_of_the_queues_that_are_named_run() -> None:
    for number, queue in enumerate(["emails", "default", "emails"]):
        apply_event.using(queue_name=queue).enqueue("o", number)
    assert [job.args[1] for job in run_jobs(["emails"])] == [0]
    assert [job.args[1] for job in run_jobs(["default", "emails"])] == [1, 2]
