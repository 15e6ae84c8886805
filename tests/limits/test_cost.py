"""What a limit costs: a statement at the enqueue, and one when its place is free again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from rq.suspension import resume, suspend

from django_bgtasks.jobs.execute import claim_jobs
from django_bgtasks.models import Job
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import SharedState
from tests.app.tasks import add
from tests.named import waiting_in
from tests.statements import statements

from .tasks import BEGAN, apply_event, call_api, leave_the_line, open_the_door, send_mail

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "mysql", reason="there it takes more statements"),
]
# The statement that gives places begins with what it looks for.
ADMIT = "with"


@pytest.fixture
def process(redis_client: redis.Redis, settings: Settings) -> Iterator[JobProcess]:
    """A job process of a worker that has run its first job, and has time for a group."""
    own = {**settings.TASKS["default"], "OPTIONS": {"group_budget": 30.0}}
    settings.TASKS = {**settings.TASKS, "default": own}
    worker = JobProcess(WorkerConfig("default", "default", queues=("default",)), SharedState())
    add.enqueue(1, 2)
    assert worker.step()
    yield worker
    worker.fetcher.leave()


def test_a_job_with_a_limit_costs_one_statement_at_the_enqueue_and_one_at_the_end(
    process: JobProcess,
) -> None:
    with CaptureQueriesContext(connection) as queries:
        call_api.enqueue("a")
        assert process.step()
    assert statements(queries) == ["insert", ADMIT, "update", "update", ADMIT]


def test_many_jobs_of_many_keys_cost_no_more_statements(process: JobProcess) -> None:
    with CaptureQueriesContext(connection) as queries:
        call_api.enqueue_many([(f"key{number}", 0) for number in range(50)])
        assert process.step()
    assert not Job.objects.exclude(state="succeeded").exists()
    made = [verb for verb in statements(queries) if verb not in ("begin", "commit")]
    assert made == ["insert", ADMIT, "update", "update", ADMIT]


def test_who_frees_a_place_runs_the_next_job_itself_and_sends_no_message(
    process: JobProcess, redis_client: redis.Redis
) -> None:
    call_api.enqueue_many([("a", number) for number in range(7)])
    assert redis_client.llen(waiting_in("default")) == 2
    with CaptureQueriesContext(connection) as queries:
        assert process.step()
    assert not Job.objects.exclude(state="succeeded").exists()
    assert not redis_client.llen(waiting_in("default"))
    # Two have places at a time: they are claimed, settled, and replaced together.
    assert statements(queries) == ["update", "update", ADMIT] * 4


def test_in_a_lane_with_one_place_each_job_is_settled_and_the_next_one_claimed_together(
    process: JobProcess, redis_client: redis.Redis
) -> None:
    apply_event.enqueue_many([("o", number) for number in range(30)])
    with CaptureQueriesContext(connection) as queries:
        assert process.step()
    assert not Job.objects.exclude(state="succeeded").exists()
    assert not redis_client.llen(waiting_in("default"))
    # The first is claimed and settled, who waits is looked for, and the next is let in and claimed.
    first, last = ["update", "update", ADMIT, ADMIT, "update"], ["update", ADMIT]
    # Twenty of the line are read together; where there were fewer, nobody is left.
    one = [ADMIT] if connection.vendor == "postgresql" else ["begin", "update", ADMIT, "commit"]
    assert statements(queries) == [*first, *one * 19, ADMIT, *one * 9, *last]


@pytest.fixture
def hasty(process: JobProcess, monkeypatch: pytest.MonkeyPatch) -> JobProcess:
    """It has time for one job in each group, and runs a sequence: the third job has the place."""
    monkeypatch.setattr(process, "_is_late", lambda: True)
    apply_event.enqueue_many([("o", number) for number in range(6)])
    assert process.step()
    assert process.step()
    assert done_and_running() == (2, 1)
    return process


def done_and_running() -> tuple[int, int]:
    jobs = Job.objects.filter(lane="order:o")
    return jobs.filter(state="succeeded").count(), jobs.filter(state="running").count()


def test_a_lane_goes_on_when_the_time_of_a_group_is_over_and_others_come_in_between(
    hasty: JobProcess, redis_client: redis.Redis
) -> None:
    assert not redis_client.llen(waiting_in("default"))
    add.enqueue(1, 2)
    assert hasty.step()
    assert not Job.objects.filter(task=add.module_path).exclude(state="succeeded").exists()
    assert done_and_running() == (3, 1)
    for _step in range(3):
        assert hasty.step()
    assert done_and_running() == (6, 0)


def test_a_lane_of_long_jobs_does_not_go_on_beyond_the_time_of_a_group(
    hasty: JobProcess, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hasty.inline.sizer, "size", lambda name: 1)
    assert hasty.step()
    # What comes in other queues would wait for the next one.
    assert done_and_running() == (3, 0)
    assert redis_client.llen(waiting_in("default")) == 1


def test_a_lane_does_not_go_on_while_workers_are_suspended(
    hasty: JobProcess, redis_client: redis.Redis
) -> None:
    suspend(redis_client)
    assert hasty.step()
    assert done_and_running() == (3, 0)
    assert not hasty.step()
    resume(redis_client)
    while Job.objects.all().live().exists():
        assert hasty.step()


def test_who_has_no_time_left_sends_the_message_of_the_next_job(
    process: JobProcess, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.inline.sizer, "size", lambda name: 0)
    call_api.enqueue_many([("a", number) for number in range(3)])
    process.run_messages(list(Job.objects.filter(place=1).values_list("pk", flat=True)))
    assert redis_client.llen(waiting_in("default")) == 3
    assert Job.objects.filter(task=call_api.module_path, state="succeeded").count() == 1


def test_what_a_task_enqueues_is_for_processes_that_have_nothing_to_do(
    process: JobProcess, redis_client: redis.Redis
) -> None:
    """As in celery 3765 and antenna 1323: it waited for a task that went on for long."""
    open_the_door.enqueue()
    assert process.step()
    assert redis_client.llen(waiting_in("default")) == 1
    assert Job.objects.get(lane="crowd").state == "queued"


def test_a_group_that_has_no_time_left_hands_back_its_jobs_and_their_starts(
    process: JobProcess,
) -> None:
    send_mail.enqueue_many([("a",)] * 4)
    rows = Job.objects.exclude(rate=None).order_by("pk")
    ids = [job.pk for job in rows.filter(state="queued")]
    jobs = claim_jobs(ids, process.config.worker, "default")
    assert len(jobs) == 3
    process.settler.hand_back(jobs)
    # They have their seats again: a period has three starts, and none of them is lost.
    assert [job.state for job in rows] == ["queued"] * 3 + ["blocked"]
    assert sorted(job.seat or 0 for job in rows) == [0, 1, 2, 3]


def test_who_is_no_longer_the_next_in_line_is_passed_over(process: JobProcess) -> None:
    """Of a line that was read before, the first is cancelled, and one overtakes the second."""
    BEGAN.clear()
    leave_the_line.enqueue("a", 1)
    leave_the_line.enqueue_many([("a", number) for number in range(2, 7)])
    while Job.objects.all().live().exists():
        assert process.step()
    assert BEGAN == [1, 2, 5, 4, 6]
