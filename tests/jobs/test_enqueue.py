"""Enqueuing: a row in the caller's transaction, a message after its commit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from django_bgtasks import InvalidArguments, QueueFull
from django_bgtasks.core import clock
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from django_bgtasks.transport.messages import message_key
from tests.app.models import Note
from tests.app.tasks import add, echo, on_the_emails_queue
from tests.named import waiting_in
from tests.statements import statements

from .tasks import welcome

pytestmark = pytest.mark.django_db
with_commits = pytest.mark.django_db(transaction=True)


def messages(client: redis.Redis, queue: str = "default") -> list[str]:
    waiting: list[Any] = client.lrange(waiting_in(queue), 0, -1)
    return [raw.decode() for raw in waiting]


@with_commits
def test_a_job_rolled_back_with_its_view_leaves_no_row_and_no_message(
    redis_client: redis.Redis,
) -> None:
    with transaction.atomic():
        Note.objects.create(text="order")
        add.enqueue(1, 2)
        transaction.set_rollback(True)
    assert not Job.objects.exists()
    assert redis_client.dbsize() == 0


@with_commits
def test_a_message_is_pushed_after_the_commit_and_not_before(redis_client: redis.Redis) -> None:
    with transaction.atomic():
        result = add.enqueue(1, 2)
        assert redis_client.dbsize() == 0
    assert messages(redis_client) == [result.id]


@with_commits
def test_without_a_transaction_the_message_is_pushed_at_once(redis_client: redis.Redis) -> None:
    result = add.enqueue(1, 2)
    assert messages(redis_client) == [result.id]


@with_commits
def test_a_message_holds_the_id_and_no_argument_of_the_call(redis_client: redis.Redis) -> None:
    result = echo.enqueue("a secret", password="another")
    message = str(redis_client.hgetall(message_key(result.id)))
    assert "secret" not in message
    assert "another" not in message
    assert redis_client.ttl(message_key(result.id)) > 0


@with_commits
def test_each_priority_in_use_is_a_queue_of_its_own(redis_client: redis.Redis) -> None:
    high = on_the_emails_queue.using(priority=50).enqueue()
    low = on_the_emails_queue.using(priority=-10).enqueue()
    assert messages(redis_client, "emails-p50") == [high.id]
    assert messages(redis_client, "emails-m10") == [low.id]


@with_commits
@pytest.mark.parametrize("priority", [3.0, True])
def test_a_priority_that_equals_a_whole_number_is_that_number(
    redis_client: redis.Redis, priority: Any
) -> None:
    result = add.using(priority=priority).enqueue(1, 2)
    assert messages(redis_client, f"default-p{int(priority)}") == [result.id]


@with_commits
def test_a_job_for_later_is_scheduled_and_has_no_message(redis_client: redis.Redis) -> None:
    moment = clock.now() + timedelta(hours=1)
    result = add.using(run_after=moment).enqueue(1, 2)
    assert redis_client.dbsize() == 0
    assert (result.job.state, str(result.status)) == ("scheduled", "READY")
    assert Job.objects.get().run_after == moment


def test_the_row_holds_the_call_and_the_options_of_its_task() -> None:
    result = echo.using(queue_name="emails", priority=7, timeout=12).enqueue(1, (2,), a={"b": "ä"})
    job = Job.objects.get(pk=result.id)
    assert (job.task, job.queue, job.priority) == ("tests.app.tasks.echo", "emails", 7)
    assert (job.args, job.kwargs, job.timeout) == ([1, [2]], {"a": {"b": "ä"}}, 12)
    assert UUID(result.id).version == 7


def test_a_job_knows_its_owner_and_what_it_is_about() -> None:
    user = get_user_model().objects.create_user("ada")
    order = Note.objects.create(text="order")
    job = add.using(owner=user, about=order).enqueue(1, 2).job
    job.refresh_from_db()
    assert (job.owner, job.about) == (user, order)


def test_a_job_outlives_its_owner() -> None:
    user = get_user_model().objects.create_user("ada")
    job = add.using(owner=user).enqueue(1, 2).job
    user.delete()
    job.refresh_from_db()
    assert job.owner is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((1,), "missing a required argument: 'b'"),
        ((1, 2, 3), "too many positional arguments"),
        ((1, object()), "Unsupported type"),
        ((1, float("nan")), "is nan, which JSON does not have"),
        ((1, "x" * 300_000), "args is too large"),
    ],
)
def test_a_call_that_cannot_be_stored_or_made_is_refused_and_leaves_nothing(
    args: tuple[Any, ...], message: str
) -> None:
    enqueue: Any = add.enqueue
    with pytest.raises(InvalidArguments, match=r"^tests\.app\.tasks\.add: ") as refusal:
        enqueue(*args)
    assert message in str(refusal.value)
    assert not Job.objects.exists()


@pytest.mark.parametrize("priority", [-101, 101, 3.5])
def test_a_priority_out_of_range_is_refused(priority: Any) -> None:
    with pytest.raises(InvalidTask, match="between -100 and 100"):
        add.using(priority=priority).enqueue(1, 2)


@pytest.mark.parametrize("length", [101, 300])
def test_the_name_of_a_queue_has_to_fit_its_column(settings: Settings, length: int) -> None:
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    with pytest.raises(InvalidTask, match=f"1 to 100 characters, not {length}"):
        add.using(queue_name="q" * length).enqueue(1, 2)


def full(settings: Settings, depth: Any) -> None:
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"max_depth": depth}}}


def test_a_full_queue_refuses_a_job_and_says_what_to_do(settings: Settings) -> None:
    full(settings, 2)
    for _ in range(2):
        add.enqueue(1, 2)
    with pytest.raises(QueueFull, match=r"'default' is full: .* max_depth of 2") as refusal:
        add.enqueue(1, 2)
    assert (refusal.value.queue, refusal.value.limit, refusal.value.retry_after) == (
        "default",
        2,
        30,
    )
    assert Job.objects.count() == 2


def test_a_depth_may_be_for_one_queue_alone(settings: Settings) -> None:
    full(settings, {"emails": 0})
    add.enqueue(1, 2)
    with pytest.raises(QueueFull, match="'emails'"):
        on_the_emails_queue.enqueue()


def test_what_runs_or_has_ended_does_not_fill_a_queue(settings: Settings) -> None:
    full(settings, 1)
    for _ in range(3):
        add.enqueue(1, 2)
        run_jobs()
    assert Job.objects.filter(state="succeeded").count() == 3


def test_a_duplicate_adds_nothing_and_is_welcome_in_a_full_queue(settings: Settings) -> None:
    full(settings, 1)
    first = welcome.enqueue(7)
    assert welcome.enqueue(7).id == first.id
    with pytest.raises(QueueFull):
        welcome.enqueue(8)


def test_a_queue_without_a_depth_costs_no_statement_to_ask() -> None:
    with CaptureQueriesContext(connection) as queries:
        add.enqueue(1, 2)
    assert statements(queries) == ["insert"]
