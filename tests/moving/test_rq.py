"""What contrib.rq promises beside what the site of django-rq shows."""

from __future__ import annotations

import datetime as dt
import json
from datetime import timedelta
from io import StringIO
from typing import Any
from unittest import mock

import pytest
import rq
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError

import django_bgtasks.contrib.rq as django_rq
from django_bgtasks import InvalidArguments
from django_bgtasks.contrib.rq import (
    Dependency,
    FailedJobRegistry,
    Job,
    Retry,
    SimpleWorker,
    get_connection,
    get_queue,
    get_worker,
)
from django_bgtasks.contrib.rq.functions import call_function, sign
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.jobs.task import find_task
from django_bgtasks.models import Job as Row
from django_bgtasks.models import Schedule
from django_bgtasks.testing import assert_enqueued, run_jobs, run_schedules

from ..waiting import wait_until
from ..workers import WorkerFactory
from . import rq_tasks as tasks

pytestmark = pytest.mark.django_db
PATH = "tests.moving.rq_tasks."
CALLBACK = rq.Callback(PATH + "note_failure")


@pytest.fixture(autouse=True)
def no_calls() -> None:
    tasks.calls.clear()


def run() -> None:
    run_jobs()


def test_a_decorated_task_is_found_by_its_own_path() -> None:
    task = find_task(PATH + "send")
    assert task is tasks.send.background_task
    assert (task.queue_name, task.timeout, task.retry.max_attempts) == ("emails", 60, 3)
    job = tasks.send.delay("ada@example.com", subject="hi")
    row = assert_enqueued(task, ["ada@example.com"], {"subject": "hi"})
    assert job.id == str(row.pk)
    assert row.queue == "emails"


def test_delay_can_be_patched_and_is_as_before_afterwards() -> None:
    with mock.patch(PATH + "send.delay") as delay:
        tasks.send.delay("ada")
    delay.assert_called_once_with("ada")
    assert tasks.send.enqueue("ada").is_queued


def test_a_wrong_call_is_refused_where_it_is_made() -> None:
    with pytest.raises(InvalidArguments):
        tasks.send.delay()
    with pytest.raises(InvalidArguments):
        tasks.send.delay("ada", cc="bob")
    with pytest.raises(InvalidArguments):
        get_queue().enqueue(tasks.plain, object())
    assert not Row.objects.exists()


def test_an_argument_that_cannot_be_stored_is_named_by_its_function() -> None:
    queue, scheduler, no_value = get_queue(), django_rq.get_scheduler(), object()
    nested = {"ids": [no_value]}
    for enqueue, place in (
        (lambda: queue.enqueue(tasks.plain, 1, no_value), r"args\[1\]"),
        (lambda: queue.enqueue(tasks.plain, x=nested), r"kwargs\['x'\]\['ids'\]\[0\]"),
        (lambda: queue.enqueue_in(timedelta(days=1), tasks.plain, no_value), r"args\[0\]"),
        (lambda: scheduler.cron("0 6 * * *", tasks.plain, [no_value]), r"args\[0\]"),
    ):
        with pytest.raises(InvalidArguments, match=rf"^{PATH}plain: .* at {place}") as refused:
            enqueue()
        assert "call_function" not in str(refused.value)


def test_what_was_enqueued_in_a_transaction_goes_with_it() -> None:
    with transaction.atomic():
        assert django_rq.enqueue(tasks.plain, 1).is_queued
        transaction.set_rollback(True)
    assert not Row.objects.exists()


def test_a_coroutine_function_runs() -> None:
    job = tasks.fetch.delay("url")
    run()
    assert job.result == "URL"


def test_a_task_of_this_package_is_one_for_a_queue_too() -> None:
    job = get_queue("reports").enqueue(tasks.count, 4)
    assert job.row.task == tasks.count.module_path
    run()
    assert job.result == 5


def test_nobody_chooses_a_function_by_editing_arguments() -> None:
    row = get_queue().enqueue(tasks.plain, 1).row
    assert row.label == PATH + "plain"
    args = ["os.getpid", row.args[1], [], {}, {}]
    forged = call_function.enqueue(*args)
    run()
    forged.refresh()
    assert forged.job.state == "failed"
    assert "SECRET_KEY" in forged.job.error
    assert sign("os.getpid", {}) != row.args[1]
    args = [PATH + "plain", row.args[1], [1], {}, {"on_success": "os.remove"}]
    forged = call_function.enqueue(*args)
    run()
    forged.refresh()
    assert (forged.job.state, tasks.calls) == ("failed", [((1,), {})])


@pytest.mark.parametrize(
    "options",
    [
        {"repeat": object()},
        {"webhooks": [object()]},
        {"on_stopped": tasks.note_success},
        {"pipeline": object()},
        {"result_ttl": -1},
        {"failure_ttl": 10 * 365 * 24 * 3600},
        {"retry": "three times"},
        {"on_success": lambda *_: None},
    ],
)
def test_what_has_no_equal_is_refused_with_where_to_read(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments, match=r"docs/moving\.md"):
        get_queue().enqueue(tasks.plain, **options)
    assert not Row.objects.exists()


@pytest.mark.parametrize("function", [tasks.Report().build, lambda: 1])
def test_a_function_that_no_worker_can_import_is_refused(function: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"top level|is none that"):
        get_queue().enqueue(function)


def test_methods_of_classes_and_of_rows_run(django_user_model: Any) -> None:
    queue, user = get_queue(), django_user_model.objects.create(username="ada", first_name="Ada")
    jobs = [
        queue.enqueue(tasks.Yearly.of_all, 3),
        queue.enqueue(tasks.Report.of_none),
        queue.enqueue(user.get_full_name),
        queue.enqueue("tests.moving.rq_tasks.Report.of_all", 4),
    ]
    run()
    assert [job.result for job in jobs] == ["Yearly 3", "none", "Ada", "Report 4"]
    assert jobs[0].func_name == PATH + "Yearly.of_all"


def test_a_test_empties_redis_by_its_connection() -> None:
    get_queue().enqueue(tasks.plain)
    get_queue().connection.flushall()
    assert not Row.objects.exists()


def test_a_method_cannot_be_decorated() -> None:
    with pytest.raises(InvalidTask):
        django_rq.job(tasks.Report.build)


@pytest.mark.parametrize("name", ["Repeat", "Webhook", "Group", "cron"])
def test_an_import_of_what_has_no_equal_says_what_to_write(name: str) -> None:
    with pytest.raises(ImportError, match=r"docs/moving\.md"):
        getattr(django_rq, name)


def test_a_job_is_made_where_it_is_enqueued() -> None:
    with pytest.raises(InvalidArguments, match="enqueue_call"):
        Job.create(tasks.plain)
    with pytest.raises(AttributeError, match="enqueue_job"):
        _ = get_queue().enqueue_job


def test_a_class_of_ones_own_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="Middleware"):
        get_queue(queue_class="shop.Queue")


def test_a_connection_is_passed_on_and_not_used() -> None:
    job = tasks.send.delay("ada")
    assert Job.fetch(job.id, connection=get_connection()) == job
    with pytest.raises(AttributeError, match="get_redis_connection"):
        get_connection().get("key")
    with pytest.raises(NoSuchJobError):
        Job.fetch("7f8a2f5e-0000-0000-0000-000000000000", connection=get_queue().connection)


def test_options_of_a_call_are_those_of_its_job() -> None:
    job = get_queue().enqueue(
        tasks.plain, 1, job_timeout="2h", ttl=60, at_front=True, description="{braces}"
    )
    assert (job.timeout, job.row.priority, job.description) == (7200, 100, "{braces}")
    assert job.row.expires_at - job.enqueued_at == timedelta(seconds=60)


def test_rqs_own_classes_are_taken_too() -> None:
    job = get_queue().enqueue(
        tasks.explode, retry=rq.Retry(max=1), on_failure=rq.Callback(tasks.note_failure)
    )
    run()
    assert job.is_failed
    assert job.row.attempt == 2
    assert tasks.calls == [("failure", "ValueError", "boom")] * 2


def test_a_delayed_retry_is_one_of_rqs() -> None:
    job = get_queue().enqueue(tasks.explode, retry=Retry(max=3, interval=[10, 60]))
    run()
    job.refresh()
    wait = job.row.run_after - timezone.now()
    assert timedelta(seconds=5) < wait <= timedelta(seconds=10)


def test_an_own_id_takes_the_place_of_the_job_that_waits() -> None:
    queue = get_queue()
    first = queue.enqueue(tasks.plain, 1, job_id="sync")
    second = queue.enqueue(tasks.plain, 2, job_id="sync")
    assert first == second
    run()
    assert tasks.calls == [((2,), {})]
    third = queue.enqueue(tasks.plain, 3, job_id="sync")
    assert third != first
    assert Job.fetch("sync") == third


def test_a_unique_job_is_refused_while_one_is_live() -> None:
    queue = get_queue()
    queue.enqueue(tasks.plain, job_id="sync", unique=True)
    with pytest.raises(DuplicateJobError):
        queue.enqueue(tasks.plain, job_id="sync", unique=True)
    with pytest.raises(ValueError, match="job_id"):
        queue.enqueue(tasks.plain, unique=True)


def test_a_job_waits_for_those_that_it_depends_on() -> None:
    queue = get_queue()
    later = queue.enqueue_in(timedelta(hours=1), tasks.plain, "first")
    job = queue.enqueue(tasks.plain, "second", depends_on=[later])
    run()
    assert not job.is_finished
    assert tasks.calls == []
    Row.objects.update(run_after=timezone.now())
    run()
    Row.objects.filter(finished_at=None).update(run_after=timezone.now())
    run()
    assert [args for args, _ in tasks.calls] == [("first",), ("second",)]
    assert job.is_finished


def test_a_failed_dependency_fails_a_job_unless_it_is_allowed() -> None:
    queue = get_queue()
    bad = queue.enqueue(tasks.explode)
    strict = queue.enqueue(tasks.plain, depends_on=bad)
    loose = queue.enqueue(tasks.plain, depends_on=Dependency(bad, allow_failure=True))
    run()
    assert strict.is_failed
    assert loose.is_finished


def test_a_success_callback_that_raises_fails_the_job() -> None:
    job = get_queue().enqueue(tasks.plain, on_success=tasks.refuse_result)
    run()
    assert job.is_failed
    assert "not this result" in job.exc_info


def test_a_function_that_returns_a_retry_says_what_to_raise() -> None:
    job = get_queue().enqueue(tasks.return_retry)
    run()
    assert job.is_failed
    assert "RetryLater" in job.row.error


def test_meta_is_there_for_others() -> None:
    job = get_queue().enqueue(tasks.keep_meta, 7, meta={"who": "ada"})
    assert job.meta == {"who": "ada"}
    run()
    assert job.get_meta() == {"who": "ada", "value": 7}


def test_the_registries_are_the_rows() -> None:
    queue = get_queue()
    job = queue.enqueue(tasks.explode)
    assert not queue.is_empty()
    run()
    assert queue.is_empty()
    assert job in FailedJobRegistry(queue=queue)
    assert job.id in FailedJobRegistry("default").get_job_ids()
    queue.failed_job_registry.requeue(job)
    assert queue.job_ids == [job.id]
    assert queue.empty() == 1


def test_a_job_that_has_ended_is_not_cancelled() -> None:
    job = get_queue().enqueue(tasks.plain)
    run()
    job.cancel()
    assert job.is_finished
    with pytest.raises(InvalidJobOperation):
        job.requeue()
    other = get_queue().enqueue(tasks.plain)
    other.cancel()
    with pytest.raises(InvalidJobOperation):
        other.cancel()


def test_a_worker_for_tests_runs_its_queues_only() -> None:
    other, own = tasks.send.delay("ada"), get_queue().enqueue(tasks.plain)
    SimpleWorker([get_queue()], connection=get_connection()).work(burst=True)
    assert (own.is_finished, other.is_queued) == (True, True)
    assert get_worker("emails").work(burst=True)
    assert other.is_finished
    with pytest.raises(InvalidArguments, match="bgworker"):
        get_worker().work()


def test_settings_of_django_rq_count_while_they_are_there(settings: Settings) -> None:
    settings.RQ_QUEUES = {"default": {"DEFAULT_TIMEOUT": 77, "ASYNC": False}}
    job = get_queue().enqueue(tasks.plain, 1)
    assert job.is_finished
    assert job.timeout == 77
    with pytest.raises(KeyError):
        get_queue("emails")


def test_at_once_passes_the_very_objects() -> None:
    found: list[int] = []
    queue = get_queue(is_async=False)
    queue.enqueue(tasks.append_to, found)
    queue.enqueue(tasks.append_decorated, found)
    assert found == [1, 2]


def test_at_once_can_mean_after_the_commit(
    settings: Settings, django_capture_on_commit_callbacks: Any
) -> None:
    settings.RQ = {"COMMIT_MODE": "on_db_commit"}
    with django_capture_on_commit_callbacks(execute=True):
        job = get_queue(is_async=False).enqueue(tasks.plain, 1)
        assert tasks.calls == []
    assert tasks.calls == [((1,), {})]
    assert job.is_finished


def test_a_naive_time_is_one_of_the_site() -> None:
    moment = dt.datetime(2036, 1, 1, 12)  # noqa: DTZ001
    job = get_queue().enqueue_at(moment, tasks.plain)
    assert job.row.run_after == timezone.make_aware(moment)


def test_a_scheduler_sets_schedules_and_jobs_for_later() -> None:
    scheduler = django_rq.get_scheduler("default")
    daily = [scheduler.cron("0 6 * * *", tasks.plain, args=[1], queue_name="reports")] * 2
    often = scheduler.schedule(timezone.now(), tasks.send, args=["ada"], interval=90, id="often")
    later = scheduler.enqueue_in(timedelta(hours=1), tasks.plain, "later")
    row = Schedule.objects.get(name=daily[0].id)
    assert (row.cron, row.options["queue_name"], daily[0].func_name) == (
        *("0 6 * * *", "reports"),
        PATH + "plain",
    )
    assert Schedule.objects.get(name="often").every == 90
    assert (often.id, often.meta) == ("often", {"interval": 90})
    assert scheduler.count() == 3
    assert later in scheduler
    assert [job.id for job in scheduler.get_jobs(timedelta(minutes=10))] == ["often"]
    for job in scheduler.get_jobs():
        scheduler.cancel(job)
    assert scheduler.count() == 0
    with pytest.raises(InvalidArguments, match="repeat"):
        scheduler.cron("0 6 * * *", tasks.plain, repeat=3)


def test_a_schedule_of_a_function_runs_it() -> None:
    django_rq.get_scheduler().schedule(timezone.now(), tasks.plain, args=[7], interval=60, id="x")
    start = dt.datetime(2036, 1, 1, tzinfo=dt.UTC)
    run_schedules(start + timedelta(minutes=2), start=start, only=["x"])
    assert tasks.calls[0] == ((7,), {})


def test_bgimport_reads_what_rq_has_left(redis_client: Any, settings: Settings) -> None:
    values = redis_client.connection_pool.connection_kwargs
    settings.RQ_QUEUES = {
        "default": {name.upper(): values[name] for name in ("host", "port", "db")},
    }
    queue = rq.Queue("default", connection=redis_client)
    waiting = queue.enqueue(PATH + "plain", 1, at=timezone.now(), on_failure=CALLBACK)
    queue.enqueue_in(timedelta(hours=1), PATH + "plain", 2)
    queue.enqueue(PATH + "gone")
    queue.enqueue("os.system", "touch /tmp/never")
    queue.enqueue("django.core.management.call_command", "flush")
    queue.enqueue(PATH + "plain", on_success=rq.Callback("os.remove"))
    # What this package itself has sent there is not another queue's.
    redis_client.sadd("rq:queues", "rq:queue:1a2b3c4d:default", "rq:queue:1a2b3c4d.old:default")
    redis_client.lpush("rq:queue:1a2b3c4d:default", waiting.id)
    redis_client.lpush("rq:queue:1a2b3c4d.old:default", waiting.id)
    out = StringIO()
    call_command("bgimport", "--from", "django-rq", "--json", stdout=out)
    [found] = json.loads(out.getvalue())
    assert (len(found["found"]), len(found["left"])) == (2, 4)
    assert not Row.objects.exists()
    for _ in range(2):
        call_command("bgimport", "--from", "django-rq", "--apply")
    assert sorted(Row.objects.values_list("state", flat=True)) == ["queued", "scheduled"]
    assert Job.fetch(waiting.id).is_queued
    assert queue.count == 5


@pytest.mark.slow
def test_a_worker_runs_what_was_written_for_rq(bgworker: WorkerFactory) -> None:
    queue = get_queue()
    jobs = [tasks.send.delay("ada"), queue.enqueue(tasks.plain, 1), queue.enqueue(tasks.explode)]
    killed = queue.enqueue(tasks.die, on_failure=tasks.note_failure)
    worker = bgworker("--burst")
    worker.wait()
    assert [job.get_status() for job in jobs] == ["finished", "finished", "failed"]
    wait_until(lambda: killed.is_failed)
