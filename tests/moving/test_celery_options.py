"""What is refused of Celery's options, and with which sentence; and Celery's own signatures."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from django_bgtasks import InvalidArguments, Rate
from django_bgtasks.contrib.celery import shared_task, uuid
from django_bgtasks.contrib.celery.errors import NoEqual
from django_bgtasks.contrib.celery.options import (
    CALL_ACCEPTED,
    CALL_REFUSED,
    CALL_WORKS,
    TASK_ACCEPTED,
    TASK_REFUSED,
    TASK_WORKS,
)
from django_bgtasks.contrib.celery.registry import TASKS
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.core.options import default_backend
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.moving import celery_tasks as tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with without_redis():
        yield


def body(*args: Any) -> None:
    """Do nothing."""


async def abody() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate_limit": "10/fortnight"}, "100/m"),
        ({"routing_key": "x"}, "name a queue"),
        ({"pydantic": True}, "model_validate"),
        ({"max_retry": 3}, "Did you mean 'max_retries'"),
        ({"acks_on_failure_or_timeout": False}, "autoretry_for"),
    ],
)
def test_an_option_of_a_task_that_means_something_else_is_refused(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidTask, match=text) as caught:
        shared_task(**options)(body)
    assert "docs/moving.md" in str(caught.value) or "Did you mean" in str(caught.value)


def test_a_coroutine_function_is_refused() -> None:
    with pytest.raises(InvalidTask, match="from django_bgtasks import task"):
        shared_task(abody)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"exchange": "x"}, "name a queue"),
        ({"routing_key": "x"}, "name a queue"),
        ({"count_down": 3}, "did you mean 'countdown'"),
        ({"chord": 3}, "chord"),
        ({"task_id": "mine"}, "dedup_key"),
        ({"countdown": 3, "eta": timezone.now()}, "one of them"),
        ({"expires": "tomorrow"}, "expires"),
    ],
)
def test_an_option_of_a_call_that_means_something_else_is_refused(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(NoEqual, match=text):
        tasks.add.apply_async((1, 2), **options)
    assert not Job.objects.exists()


def test_what_means_nothing_here_is_accepted() -> None:
    tasks.add.apply_async(
        (1, 2),
        serializer="json",
        retry=True,
        retry_policy={"max_retries": 3},
        ignore_result=True,
        add_to_parent=False,
        queue="emails",
        routing_key="emails",
    )
    assert Job.objects.get().queue == "emails"


def test_a_call_that_the_function_does_not_take_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="add"):
        tasks.add.delay(1, 2, 3)
    with pytest.raises(InvalidArguments):
        tasks.add.delay(1, z=3)


def test_times_are_those_of_celery() -> None:
    now = timezone.now()
    tasks.add.apply_async((1, 2), countdown=60)
    tasks.add.apply_async((1, 2), eta=now + timedelta(minutes=2))
    naive = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=3)
    tasks.add.apply_async((1, 2), eta=naive, expires=timedelta(minutes=10))
    tasks.add.apply_async((1, 2), expires=300)
    waits = [
        round((job.run_after - now).total_seconds() / 60)
        for job in Job.objects.filter(state="scheduled").order_by("pk")
        if job.run_after
    ]
    assert waits == [1, 2, 3]
    assert Job.objects.filter(expires_at__isnull=False).count() == 2


def test_a_call_may_bring_its_id() -> None:
    task_id = uuid()
    result = tasks.add.apply_async((1, 2), task_id=task_id)
    assert result.id == task_id
    assert str(Job.objects.get().pk) == task_id
    run_jobs()
    assert result.get(timeout=1) == 3


def test_limits_of_a_call_come_before_those_of_the_task() -> None:
    tasks.slow.apply_async(time_limit=100, soft_time_limit=0.2)
    assert Job.objects.get().timeout == 100
    run_jobs()
    assert Job.objects.get().result == "cleaned up"
    with pytest.raises(ValueError, match="less than or equal"):
        tasks.slow.apply_async(time_limit=1, soft_time_limit=2)


def test_a_task_without_limits_has_none_as_with_celery() -> None:
    tasks.add.delay(1, 2)
    assert Job.objects.get().timeout == 10**7


@pytest.mark.parametrize(("url", "priority"), [("redis://h/0", -3), ("amqp://h", 3), ("", 3)])
def test_a_priority_counts_as_with_the_broker_of_before(url: str, priority: int) -> None:
    with override_settings(CELERY_BROKER_URL=url):
        tasks.add.apply_async((1, 2), priority=3)
    assert Job.objects.get().priority == priority


def test_routes_say_the_queue_where_nobody_else_does() -> None:
    routes = ({"tests.moving.celery_tasks.a*": {"queue": "reports"}}, {"*": "uploads"})
    with override_settings(CELERY_TASK_ROUTES=routes):
        for call in (tasks.add.delay, tasks.total.delay):
            call(*([1, 2] if call == tasks.add.delay else [[1]]))
        tasks.add.apply_async((1, 2), queue="emails")
        tasks.renamed.delay()
    queues = list(Job.objects.order_by("pk").values_list("queue", flat=True))
    assert queues == ["reports", "uploads", "emails", "emails"]


def test_options_of_ours_stand_beside_celerys() -> None:
    task = shared_task(dedup_key="b:{args}", rate=Rate("b", 5, per=60), label="x")(body)
    task.delay(1)
    task.delay(1)
    job = Job.objects.get()
    assert (job.dedup_key, job.label, job.rate) == ("b:(1,)", "x", "b")
    assert task.background_task.backend == default_backend()


@pytest.mark.parametrize(
    ("limit", "count", "per"),
    [("100/m", 100, 60.0), (5, 5, 1.0), ("0.5/s", 1, 2.0), ("20/h", 20, 3600.0)],
)
def test_a_rate_limit_counts_across_all_workers(limit: Any, count: int, per: float) -> None:
    task = shared_task(rate_limit=limit, name="shop.rated")(body)
    # The system checks advise against it, in all tests that follow.
    TASKS.unregister(task)
    assert task.background_task.rate == Rate("shop.rated", count, per=per)


def test_early_acknowledgement_is_no_second_run_after_a_crash() -> None:
    crash = {
        options: shared_task(**dict([options]))(body).background_task.on_crash
        for options in (("acks_late", False), ("acks_late", True), ("reject_on_worker_lost", False))
    }
    assert list(crash.values()) == ["fail", "retry", "fail"]


def test_each_parameter_of_celery_is_known_here() -> None:
    celery = pytest.importorskip("celery", reason="tox run -e moving has it")
    task = celery.Task
    known = CALL_WORKS | CALL_ACCEPTED | set(CALL_REFUSED)
    calls = {
        name
        for function in (task.apply_async, task.apply, celery.Celery.send_task)
        for name in inspect.signature(function).parameters
    }
    of_apply = {"self", "options", "throw", "logfile", "loglevel", "name"}
    assert not calls - known - of_apply
    definition = set(inspect.signature(celery.Celery._task_from_fun).parameters)
    attributes = {
        name
        for name, value in vars(task).items()
        if not name.startswith("_")
        and not inspect.isroutine(value)
        and not isinstance(value, classmethod | staticmethod)
    }
    automatic = {"autoretry_for", "retry_kwargs", "retry_backoff", "retry_jitter"}
    known = TASK_WORKS | TASK_ACCEPTED | set(TASK_REFUSED)
    assert not (definition | attributes | automatic) - known - {"self", "fun", "options"}
    hooks = {"before_start", "on_success", "on_retry", "on_failure", "after_return"}
    assert hooks <= known
    mine = type(tasks.add).apply_async
    theirs = list(inspect.signature(task.apply_async).parameters)
    assert list(inspect.signature(mine).parameters) == theirs
    assert set(inspect.signature(task.retry).parameters) == set(
        inspect.signature(type(tasks.add).retry).parameters
    )


def test_the_settings_say_what_a_task_does_not() -> None:
    annotations = {"*": {"max_retries": 7}, "shop.annotated": {"time_limit": 33}}
    with override_settings(
        CELERY_TASK_SOFT_TIME_LIMIT=20,
        CELERY_TASK_TIME_LIMIT=30,
        CELERY_TASK_DEFAULT_QUEUE="reports",
        CELERY_TASK_ANNOTATIONS=annotations,
    ):
        task = shared_task(name="shop.annotated")(body)
        own = shared_task(name="shop.own", soft_time_limit=5, time_limit=10)(body)
    assert (task.soft_time_limit, task.background_task.timeout) == (20, 33)
    assert (task.max_retries, task.background_task.queue_name) == (7, "reports")
    assert (own.soft_time_limit, own.background_task.timeout) == (5, 10)
