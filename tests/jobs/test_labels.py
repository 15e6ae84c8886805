"""The label of a job: made of its call as everybody may see it, at the enqueue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks import InvalidArguments, Middleware, add_middleware, remove_middleware, task
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.core.payload import MASK
from django_bgtasks.models import Job
from django_bgtasks.testing import without_redis

pytestmark = pytest.mark.django_db


class Colour(StrEnum):
    RED = "red"


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with without_redis():
        yield


@task(label="push to {device}")
def push(device: Any, note: str = "hello", **more: Any) -> None:
    """Shown by its label."""


@task(label="pay {amount:.2f} for {order[name]}", sensitive=("iban",))
def pay(order: Any, amount: float, iban: str) -> None:
    """Has an argument that nobody is to read."""


@dataclass
class Login:
    name: str
    password: str


@task(label="{login}", types="django")
def typed(login: Any) -> None:
    """Has an argument with a secret within."""


@task(label="{name}", dedup_key="{name}", on_duplicate="replace")
def keyed(name: str, text: str = "") -> None:
    """Has a key too."""


def label_of(definition: Any, *args: Any, **kwargs: Any) -> str:
    job = definition.enqueue(*args, **kwargs).job
    stored = Job.objects.get(pk=job.pk).label
    assert stored == job.label
    return stored


def test_a_label_is_made_of_the_arguments() -> None:
    assert label_of(push, 17) == "push to 17"
    assert label_of(push, Colour.RED) == "push to red"
    assert label_of(push.using(label="{device} {note}"), 5) == "5 hello"
    assert label_of(push.using(label=lambda device: f"no. {device}"), 5) == "no. 5"
    assert label_of(push.using(label=lambda device: None), 5) == ""
    assert label_of(push.using(label=None), 5) == ""
    assert label_of(pay, {"name": "tea"}, 3, iban="DE89") == "pay 3.00 for tea"


def test_a_label_is_one_line_that_every_database_keeps() -> None:
    assert label_of(push, " a\n b\t\x1b[31m\u202ec ") == "push to a b ?[31m?c"
    assert label_of(push, "x" * 250) == "push to " + "x" * 246 + "…"
    assert label_of(push, "é" * 9) == "push to " + "é" * 9
    assert label_of(push.using(label="{device[0]!r:>5}|"), ["a"]) == "'a'|"
    assert label_of(push.using(label=lambda device: "a\0b\ud800"), 1) == "a\ufffdb?"


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("{gone}", "may name these arguments: device, note, more"),
        ("{device", "cannot be made"),
        ("{0}", "cannot be made"),
        ("{device._private}", "cannot be made"),
        ("{device:d}", "cannot be made"),
    ],
)
def test_a_label_that_cannot_be_made_enqueues_nothing(label: str, why: str) -> None:
    definition = push.using(label=label)
    for enqueue in (lambda: definition.enqueue("a"), lambda: definition.enqueue_many([("a",)])):
        with pytest.raises(InvalidArguments, match=why):
            enqueue()
    with pytest.raises(InvalidArguments, match="must give a string or None"):
        push.using(label=lambda device: 7).enqueue("a")
    assert not Job.objects.exists()


def test_a_label_tells_no_secret() -> None:
    with pytest.raises(InvalidTask, match="its label names iban, which is sensitive"):
        pay.using(label="to {iban!r}")
    with pytest.raises(InvalidTask, match="its label names iban"):
        pay.using(label="to {iban[0]}")
    quotes = pay.using(label=lambda order, amount, iban: f"{order} to {iban[-4:]}")
    assert label_of(quotes, {"token": "t0p"}, 3, "DE8937040044") == f"{{'token': '{MASK}'}} to ****"
    assert label_of(push.using(label="{more}"), 1, api_key="s3cret") == f"{{'api_key': '{MASK}'}}"


def test_a_label_tells_no_secret_that_a_typed_value_has_within() -> None:
    login = Login("ada", "hunter22")
    for definition in (typed, typed.using(label=lambda login: f"{login!r}")):
        label = f"Login(name='ada', password='{MASK}')"
        assert label_of(definition, login) == label
        (result,) = definition.enqueue_many([(login,)])
        assert result.job.label == Job.objects.get(pk=result.id).label == label


@pytest.mark.parametrize("wrong", [7, ["push"], b"push"])
def test_what_is_no_label_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidTask, match="a format string or a callable"):
        push.using(label=wrong)


def test_many_calls_have_each_its_own_in_one_statement() -> None:
    with CaptureQueriesContext(connection) as queries:
        results = push.enqueue_many([(1,), {"device": 'quo"te'}, ("é",)])
    assert len([each for each in queries if "INSERT" in each["sql"]]) == 1
    wanted = ["push to 1", 'push to quo"te', "push to é"]
    assert [result.job.label for result in results] == wanted
    assert list(Job.objects.order_by("pk").values_list("label", flat=True)) == wanted
    assert len(keyed.enqueue_many([("a",), ("b",)])) == 2
    assert set(Job.objects.filter(task__endswith="keyed").values_list("label", flat=True)) == {
        *("a", "b"),
    }


def test_a_middleware_sees_the_label_of_each() -> None:
    seen: list[str] = []

    class Sees(Middleware):
        def on_enqueue(self, jobs: Any) -> None:
            seen.extend(job.label for job in jobs)

    middleware = Sees()
    add_middleware(middleware)
    try:
        push.enqueue_many([(1,), (2,)])
    finally:
        remove_middleware(middleware)
    assert seen == ["push to 1", "push to 2"]


def test_replace_gives_the_waiting_job_the_new_label() -> None:
    job = keyed.enqueue("a").job
    keyed.using(label="{name} {text}").enqueue("a", "new")
    job.refresh_from_db()
    assert job.label == "a new"
