"""Values of every kind: what reaches a task, and what is refused at the call."""

from __future__ import annotations

import re
from collections import OrderedDict, namedtuple
from datetime import timedelta
from enum import Enum, IntEnum, StrEnum
from functools import partial
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_bgtasks import InvalidArguments, once, task
from django_bgtasks.core import clock
from django_bgtasks.core.compat import api as tasks_api
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.app.models import Leaf, Note
from tests.app.tasks import add, echo

pytestmark = pytest.mark.django_db
Pair = namedtuple("Pair", "a b")


class Color(str, Enum):  # noqa: UP042 - as people write it
    RED = "red"


class Queue(str, Enum):  # noqa: UP042
    EMAILS = "emails"


class Fruit(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Share(float):
    def __repr__(self) -> str:
        return "half"


class Listed(list[Any]):
    """A list of a class of its own."""


class Mapped(dict[str, Any]):
    """A dict of a class of its own."""


@task
def returns(value: Any) -> Any:
    return value


@task
def once_returns(value: Any) -> Any:
    for _ in range(2):
        found = once("key", returns.func, value)
    return found


@task(takes_context=True)
def takes_context(context: Any) -> None: ...


@tasks_api.task
def django_returns(value: Any) -> Any:
    return value


@pytest.mark.parametrize("length", [65, 255])
def test_a_job_may_be_about_an_object_with_a_long_key(length: int) -> None:
    session = Session.objects.create(session_key="k" * 40, expire_date=clock.now())
    long = Leaf.objects.create(pk="ä" * length)
    for about in (session, long):
        job = add.using(about=about).enqueue(1, 2).job
        job.refresh_from_db()
        assert (job.about, job.about_key) == (about, about.pk)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        (
            Leaf(pk="k" * 256),
            "the key of about, a tests_app.Leaf, has 1 to 255 characters, not 256.",
        ),
        (Leaf(pk="a\0"), "the key of about, a tests_app.Leaf, contains a NUL character"),
        (Leaf(pk="\ud800"), "the key of about, a tests_app.Leaf, contains a lone surrogate"),
        (Leaf(pk=""), "the key of about, a tests_app.Leaf, has 1 to 255 characters, not 0."),
        (Note(), "about is a tests_app.Note without a key; save it first."),
        (Note, "about takes a model instance, not <class 'tests.app.models.Note'>"),
        (7, "about takes a model instance, not 7"),
        (AnonymousUser(), "about takes a model instance, not "),
    ],
)
def test_what_a_job_is_about_is_refused_at_the_call_if_it_cannot_be_kept(
    about: Any, why: str
) -> None:
    for call in (add.using(about=about).enqueue, add.using(about=about, dedup_key="k").enqueue):
        with pytest.raises(InvalidArguments, match=re.escape(f"tests.app.tasks.add: {why}")):
            call(1, 2)
    assert not Job.objects.exists()


@pytest.mark.parametrize("owner", [7, "ada", Note])
def test_an_owner_that_is_no_user_is_refused(owner: Any) -> None:
    with pytest.raises(InvalidArguments, match="owner takes a model instance, not"):
        add.using(owner=owner).enqueue(1, 2)


def test_a_visitor_owns_no_job() -> None:
    assert add.using(owner=AnonymousUser()).enqueue(1, 2).job.owner_id is None


NAMES = ["self", "task", "args", "kwargs", "func", "job", "alias", "calls", "step", "key", "name"]


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_may_have_any_name(name: str) -> None:
    call, keyed = {name: 1}, echo.using(dedup_key="k")
    made = [echo.enqueue(**call), *echo.enqueue_many([call, call]), keyed.enqueue(**call)]
    made += [*keyed.enqueue_many([call]), async_to_sync(partial(echo.aenqueue, **call))()]
    assert [result.job.kwargs for result in made] == [call] * 6
    assert [job.state for job in run_jobs()] == ["succeeded"] * 5


def named(**names: Any) -> Any:
    return names


async def anamed(**names: Any) -> Any:
    return names


@task(takes_context=True)
async def takes_steps(context: Any, names: Any) -> Any:
    return [await context.aonce(step.__name__, step, **names) for step in (named, anamed)]


@pytest.mark.django_db(transaction=True)
def test_an_argument_of_a_step_may_have_any_name_but_those_of_once() -> None:
    names = dict.fromkeys((*NAMES, "thread_sensitive", "executor"), 1)
    takes_steps.enqueue(names)
    [job] = run_jobs()
    assert job.result == [names, names], job.error


def test_an_argument_that_is_the_context_already_is_refused() -> None:
    call = {"context": 1}
    with pytest.raises(InvalidArguments, match="multiple values for argument 'context'"):
        takes_context.enqueue(**call)


VALUES: list[tuple[Any, Any]] = [
    *((Color.RED, "red"), (Fruit.RED, "red"), (Level.LOW, 1), (Share(0.5), 0.5)),
    *((mark_safe("<b>"), "<b>"), (gettext_lazy("Yes"), "Yes"), (Pair(1, 2), [1, 2])),
    *((SimpleLazyObject(lambda: "red"), "red"), (SimpleLazyObject(lambda: Color.RED), "red")),
    *((SimpleLazyObject(lambda: 7), 7), (SimpleLazyObject(lambda: True), True)),
    *(({Color.RED: Color.RED}, {"red": "red"}), (OrderedDict(a=2, b=1), {"a": 2, "b": 1})),
    *((Listed([1, Color.RED]), [1, "red"]), (Mapped(a=Level.LOW), {"a": 1}), ("", "")),
    *((2**63, 2**63), (-(2**64), -(2**64)), (2**53 + 1, 2**53 + 1), (10**300, 10**300)),
    *((1e16, 1e16), (-1.5e300, -1.5e300), (1.7976931348623157e308, 1.7976931348623157e308)),
    *(
        (5e-324, 5e-324),
        (1e-7, 1e-7),
        (0.1, 0.1),
        (1.0, 1.0),
        (1e15, 1e15),
        (123456789e20, 1.23456789e28),
    ),
    *(("1e+16", "1e+16"), ('a"1e+16\\', 'a"1e+16\\'), ({'"e+1': 1e22}, {'"e+1': 1e22})),
]


@pytest.mark.parametrize(("value", "arrives"), VALUES, ids=lambda value: type(value).__name__)
def test_a_value_arrives_as_the_text_or_number_that_it_is(value: Any, arrives: Any) -> None:
    windowed = returns.using(dedup_key="k", dedup_scope=timedelta(hours=1))
    made = [returns.enqueue(value), *returns.enqueue_many([(value,)] * 2), windowed.enqueue(value)]
    made.append(once_returns.enqueue(value))
    run_jobs()
    for result in made:
        job = Job.objects.get(pk=result.id)
        for found in (job.args[0], job.result):
            assert repr(found) == repr(arrives), job.error


@pytest.mark.parametrize("value", [Color.RED, Fruit.RED, mark_safe("red"), "red"])
def test_a_dedup_key_is_made_of_what_arrives(value: Any) -> None:
    keyed = returns.using(dedup_key="k:{value}:{value!s}")
    assert keyed.enqueue(value).job.dedup_key == "k:red:red"


def test_a_queue_may_be_a_member_of_an_enumeration(redis_client: redis.Redis) -> None:
    for made in (returns, django_returns):
        result = made.using(queue_name=Queue.EMAILS).enqueue(1)
        assert Job.objects.get(pk=result.id).queue == "emails"
