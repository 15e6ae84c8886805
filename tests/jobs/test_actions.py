"""What people do to a job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.db import transaction

from django_bgtasks import InvalidMove, cancel_job, get_job, retry_job, run_job_now
from django_bgtasks.core import clock
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.app.tasks import add, fail
from tests.named import waiting_in

pytestmark = pytest.mark.django_db
with_commits = pytest.mark.django_db(transaction=True)


def test_a_job_is_found_by_its_id_as_text_or_as_uuid() -> None:
    job = add.enqueue(1, 2).job
    assert get_job(job.pk) == get_job(str(job.pk)) == job


@pytest.mark.parametrize("action", [get_job, cancel_job, retry_job, run_job_now])
def test_a_job_that_is_not_there_is_said_not_to_be(action: Any) -> None:
    for job_id in (uuid4(), str(uuid4())):
        with pytest.raises(Job.DoesNotExist):
            action(job_id)


def test_a_job_that_waits_is_cancelled_and_never_runs() -> None:
    result = add.enqueue(1, 2)
    assert cancel_job(result.id) == "cancelled"
    assert run_jobs() == []
    result.refresh()
    assert (result.job.state, str(result.status)) == ("cancelled", "FAILED")
    with pytest.raises(InvalidMove):
        cancel_job(result.id)


def test_a_job_that_runs_is_asked_to_stop() -> None:
    result = add.enqueue(1, 2)
    Job.objects.update(state="running")
    assert cancel_job(result.id) == "requested"


def test_a_cancellation_that_meets_a_release_is_not_lost() -> None:
    result = add.enqueue(1, 2)
    Job.objects.update(state="running")
    cancel_job(result.id)
    Job.objects.update(state="queued")
    assert [job.state for job in run_jobs()] == ["cancelled"]


@with_commits
def test_a_retry_and_a_run_now_are_dispatched_after_their_commit(
    redis_client: redis.Redis,
) -> None:
    failed = fail.enqueue()
    later = add.using(run_after=clock.now() + timedelta(hours=1)).enqueue(1, 2)
    run_jobs()
    redis_client.flushdb()
    with transaction.atomic():
        retry_job(failed.id)
        run_job_now(later.id)
        assert redis_client.dbsize() == 0
    pushed: list[Any] = redis_client.lrange(waiting_in("default"), 0, -1)
    assert pushed == [failed.id.encode(), later.id.encode()]


@with_commits
def test_a_retry_that_is_rolled_back_has_not_happened(redis_client: redis.Redis) -> None:
    result = fail.enqueue()
    run_jobs()
    redis_client.flushdb()
    with transaction.atomic():
        retry_job(result.id)
        transaction.set_rollback(True)
    assert (get_job(result.id).state, redis_client.dbsize()) == ("failed", 0)
