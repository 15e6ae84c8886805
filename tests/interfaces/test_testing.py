"""The test kit of a site."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
import redis
from django.db import connection
from pytest_django import Settings

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import run_job_now
from django_bgtasks.models import Job
from django_bgtasks.testing import assert_enqueued, assert_not_enqueued, enqueued, run_jobs
from tests.app.models import Note
from tests.app.tasks import add, fail, on_the_emails_queue, write
from tests.jobs.tasks import enqueues_another

from . import breaking

pytestmark = pytest.mark.django_db


@pytest.fixture
def kit(request: pytest.FixtureRequest, db: None) -> Iterator[ModuleType]:
    """The fixture `bgtasks`, as the plugin of an installed package gives it."""
    from django_bgtasks import pytest_plugin

    generator = pytest_plugin.bgtasks.__wrapped__(None)  # type: ignore[attr-defined]
    yield next(generator)
    next(generator, None)


def test_jobs_run_through_the_real_state_machine() -> None:
    add.enqueue(1, 2)
    fail.enqueue("no")
    assert [(job.state, job.attempt, job.result) for job in run_jobs()] == [
        ("succeeded", 1, 3),
        ("failed", 1, None),
    ]
    assert run_jobs() == []


def test_jobs_run_in_the_order_in_which_workers_run_them() -> None:
    low, first, high = (add.using(priority=p).enqueue(p, 0).id for p in (-5, 0, 50))
    assert [str(job.pk) for job in run_jobs()] == [high, first, low]


def test_jobs_that_jobs_enqueue_run_too() -> None:
    enqueues_another.enqueue("child")
    assert len(run_jobs()) == 2
    assert Note.objects.get().text == "child"


def test_queues_can_be_run_alone() -> None:
    add.enqueue(1, 2)
    on_the_emails_queue.enqueue()
    assert [job.queue for job in run_jobs(["emails"])] == ["emails"]
    assert [job.queue for job in run_jobs()] == ["default"]


def test_jobs_for_later_stay_until_their_time() -> None:
    later = add.using(run_after=clock.now() + timedelta(hours=1)).enqueue(1, 2)
    assert run_jobs() == []
    run_job_now(later.id)
    assert len(run_jobs()) == 1


def test_a_task_without_an_end_is_stopped_at_the_limit() -> None:
    for _ in range(4):
        add.enqueue(1, 2)
    with pytest.raises(RuntimeError, match="run_jobs ran 3 jobs and there are still more"):
        run_jobs(limit=3)
    assert Job.objects.filter(state="queued").count() == 1


def test_a_task_that_breaks_the_transaction_of_the_test_is_settled_all_the_same() -> None:
    write.enqueue("kept")
    breaking.ask_for_what_is_not_there.enqueue()
    write.enqueue("kept too")
    assert [job.state for job in run_jobs()] == ["succeeded", "failed", "succeeded"]
    assert {"kept", "kept too"} <= {note.text for note in Note.objects.all()}


def test_a_task_that_breaks_a_constraint_is_settled_all_the_same() -> None:
    breaking.write_twice.enqueue()
    write.enqueue("kept")
    assert [job.state for job in run_jobs()] == ["failed", "succeeded"]
    assert Note.objects.filter(text="kept").exists()


def test_the_fixture_touches_no_redis(
    kit: ModuleType, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        add.enqueue(1, 2)
    assert len(kit.run_jobs()) == 1
    assert redis_client.dbsize() == 0


def test_without_the_fixture_the_message_waits_for_the_commit(
    redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        add.enqueue(1, 2)
    assert redis_client.dbsize() > 0


def test_a_job_that_was_enqueued_is_found_by_its_arguments() -> None:
    add.enqueue(1, 2)
    latest = add.enqueue(1, b=2)
    assert str(assert_enqueued(add).pk) == latest.id
    assert str(assert_enqueued(add, args=(1,), kwargs={"b": 2}).pk) == latest.id
    assert assert_enqueued(add, args=(1, 2)).kwargs == {}
    assert len(enqueued(add)) == 2


def test_what_was_not_enqueued_is_told_with_what_was() -> None:
    add.enqueue(1, 2)
    with pytest.raises(AssertionError) as error:
        assert_enqueued(add, args=(3, 4))
    assert str(error.value) == (
        "tests.app.tasks.add was not enqueued with args=(3, 4) kwargs=None. Its jobs are:\n"
        "  args=[1, 2] kwargs={}"
    )
    with pytest.raises(AssertionError, match="Its jobs are: none"):
        assert_enqueued(fail)


def test_that_nothing_was_enqueued_can_be_asserted() -> None:
    assert_not_enqueued(add)
    add.enqueue(1, 2)
    with pytest.raises(AssertionError, match=r"tests\.app\.tasks\.add was enqueued 1 times"):
        assert_not_enqueued(add)


def test_a_kept_transaction_is_the_tests_own(settings: Settings) -> None:
    assert connection.in_atomic_block
    write.enqueue("in the test's transaction")
    run_jobs()
    assert connection.in_atomic_block
