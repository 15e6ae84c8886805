"""Enqueuing many calls at once."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from django_bgtasks import DuplicateJob, InvalidArguments, QueueFull
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.jobs import enqueue_many
from django_bgtasks.models import Job
from tests.app.tasks import add, echo
from tests.named import waiting_in

from .tasks import welcome

pytestmark = pytest.mark.django_db


def test_the_results_are_in_the_order_of_the_calls() -> None:
    results = add.enqueue_many((n, 1) for n in range(50))
    assert [result.args for result in results] == [[n, 1] for n in range(50)]
    assert [str(pk) for pk in Job.objects.order_by("id").values_list("pk", flat=True)] == [
        result.id for result in results
    ]


def test_a_call_is_a_tuple_of_arguments_or_a_dict_of_named_ones() -> None:
    results = echo.enqueue_many([(1, 2), {"a": 1}, ()])
    assert [(result.args, result.kwargs) for result in results] == [
        ([1, 2], {}),
        ([], {"a": 1}),
        ([], {}),
    ]


def test_no_call_is_no_job() -> None:
    assert add.enqueue_many([]) == []


def test_a_chunk_is_one_insert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enqueue_many, "CHUNK", 20)
    with CaptureQueriesContext(connection) as queries:
        add.enqueue_many((n, 1) for n in range(50))
    inserts = [query for query in queries if query["sql"].startswith("INSERT")]
    assert len(inserts) == 3


@pytest.mark.django_db(transaction=True)
def test_the_messages_are_pushed_in_order(redis_client: redis.Redis) -> None:
    results = add.enqueue_many((n, 1) for n in range(30))
    pushed = redis_client.lrange(waiting_in("default"), 0, -1)
    assert pushed == [result.id.encode() for result in results]


@pytest.mark.parametrize("bad", [(1, object()), (1,), {"c": 3}])
def test_one_call_that_is_refused_refuses_all(bad: Any) -> None:
    with pytest.raises(InvalidArguments):
        add.enqueue_many([(1, 2), bad])
    assert not Job.objects.exists()


@pytest.mark.parametrize("bad", [7, "ab", None])
def test_what_is_neither_a_tuple_nor_a_dict_is_refused_with_an_example(bad: Any) -> None:
    with pytest.raises(InvalidTask, match="a tuple of arguments or a dict of keyword arguments"):
        add.enqueue_many([(1, 2), bad])


def test_a_queue_takes_all_of_them_or_none(settings: Settings) -> None:
    options = {"max_depth": 5}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    add.enqueue_many([(1, 1)] * 3)
    with pytest.raises(QueueFull):
        add.enqueue_many([(1, 1)] * 3)
    assert Job.objects.count() == 3
    add.enqueue_many([(1, 1)] * 2)


def test_duplicates_among_the_calls_are_one_job() -> None:
    results = welcome.enqueue_many([(1,), (2,), (1,)])
    assert [result.deduplicated for result in results] == [False, False, True]
    assert results[0].id == results[2].id
    assert Job.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_duplicate_that_raises_undoes_all_of_them(redis_client: redis.Redis) -> None:
    with pytest.raises(DuplicateJob):
        welcome.using(on_duplicate="raise").enqueue_many([(1,), (2,), (1,)])
    assert not Job.objects.exists()
    assert redis_client.dbsize() == 0
