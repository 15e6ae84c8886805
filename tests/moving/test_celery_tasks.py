"""Tasks that are written as Celery's, run by django_bgtasks."""

from __future__ import annotations

import pytest
from django.utils import timezone

from django_bgtasks.contrib.celery import AsyncResult
from django_bgtasks.contrib.celery.exceptions import MaxRetriesExceededError
from django_bgtasks.models import Attempt, Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.moving import celery_tasks as tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_redis():
    tasks.SEEN.clear()
    with without_redis():
        yield


def run_all() -> None:
    """Run all jobs, those for later included."""
    while run_jobs() or Job.objects.filter(state="scheduled").update(run_after=timezone.now()):
        pass


def test_a_call_is_a_job_under_its_own_name_and_gives_its_result() -> None:
    result = tasks.add.delay(2, y=3)
    assert result.state == "PENDING"
    run_all()
    job = Job.objects.get()
    assert (job.task, job.args, job.kwargs) == ("tests.moving.celery_tasks.add", [2], {"y": 3})
    assert result.get(timeout=1) == 5
    assert AsyncResult(result.id).successful()


def test_three_retries_are_four_attempts() -> None:
    result = tasks.retrying.delay()
    run_all()
    assert tasks.SEEN == [0, 1, 2, 3]
    assert result.state == "FAILURE"
    with pytest.raises(ConnectionError, match="away"):
        result.get(timeout=1)


def test_a_plain_exception_fails_for_good() -> None:
    result = tasks.fail.delay("bad")
    run_all()
    assert Attempt.objects.count() == 1
    assert isinstance(result.result, ValueError)


def test_without_a_reason_it_fails_with_celerys_own_error() -> None:
    result = tasks.retrying_without_reason.delay()
    run_all()
    assert isinstance(result.result, MaxRetriesExceededError)


def test_a_retry_may_allow_more_than_the_definition() -> None:
    result = tasks.retrying_more_often.delay()
    run_all()
    assert tasks.SEEN == [0, 1, 2, 3, 4, 5]
    assert isinstance(result.result, KeyError)
